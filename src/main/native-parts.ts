import { createRequire } from 'node:module'
import type { Finding } from '../cli/index.ts'
import type { Config } from '../config.ts'
import { usesNativeCiphers } from '../ssh/index.ts'

const load = createRequire(import.meta.url)

/** Parts of packages that are machine code: made for another machine or Node, they do not load. */
export function checkNativeParts(config: Pick<Config, 'nativeCiphers'>): Finding[] {
  return [
    describeCiphers(config),
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

/** The mode of every process that starts with these settings. JavaScript costs only time. */
function describeCiphers({ nativeCiphers }: Pick<Config, 'nativeCiphers'>): Finding {
  const name = 'ssh ciphers'
  if (usesNativeCiphers()) return { name, ok: true, detail: 'native' }
  const cost = 'each byte relayed costs more CPU time, and all else is the same'
  if (nativeCiphers === 'off') {
    return { name, ok: true, detail: `JavaScript, as VAULTTERM_NATIVE_CIPHERS=off asks: ${cost}` }
  }
  return {
    name,
    ok: true,
    detail: `JavaScript, because the native ciphers of ssh2 are not built: ${cost}`,
    fix: 'install g++, make and python3, remove node_modules/.vaultterm/ready, and start again',
  }
}

function loads(path: string): boolean {
  try {
    load(path)
    return true
  } catch {
    return false
  }
}
