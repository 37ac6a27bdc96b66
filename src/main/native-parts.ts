import { createRequire } from 'node:module'
import type { Finding } from '../cli/index.ts'

const load = createRequire(import.meta.url)

/** Checks the parts of packages that are machine code, which load only on the machine and Node they were built for. */
export function checkNativeParts(): Finding[] {
  return [
    // Without it, the package uses its JavaScript implementation.
    loads('ssh2/lib/protocol/crypto/build/Release/sshcrypto.node')
      ? { name: 'ssh2 binding', ok: true, detail: 'loads' }
      : {
          name: 'ssh2 binding',
          ok: true,
          detail: 'not built: relayed bytes cost more CPU time, everything else is the same',
          fix: 'install a C++ compiler and Python 3, then start again',
        },
    loads('node-pty')
      ? { name: 'node-pty', ok: true, detail: 'loads' }
      : {
          name: 'node-pty',
          ok: false,
          detail: 'does not load: the demo target has no terminals',
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
