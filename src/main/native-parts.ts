import { createRequire } from 'node:module'
import type { Finding } from '../cli/index.ts'

const load = createRequire(import.meta.url)

/** Parts of packages that are machine code: made for another machine or Node, they do not load. */
export function checkNativeParts(): Finding[] {
  return [
    // Its absence costs time and nothing else: the package has the same in JavaScript.
    loads('ssh2/lib/protocol/crypto/build/Release/sshcrypto.node')
      ? { name: 'ssh2 binding', ok: true, detail: 'it loads' }
      : {
          name: 'ssh2 binding',
          ok: true,
          detail: 'not there: each byte relayed costs more CPU time, and all else is the same',
          fix: 'install a C++ compiler and Python 3, then start again',
        },
    loads('node-pty')
      ? { name: 'node-pty', ok: true, detail: 'it loads' }
      : {
          name: 'node-pty',
          ok: false,
          detail: 'it does not load: the demo target has no terminals',
          fix: 'run `npm ci` on this machine',
        },
  ]
}

function loads(path: string): boolean {
  try {
    load(path)
    return true
  } catch {
    return false
  }
}
