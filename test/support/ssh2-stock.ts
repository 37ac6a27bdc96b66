import { execFileSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const root = join(import.meta.dirname, '../..')
const installed = join(root, 'node_modules/ssh2')
const patches = join(root, 'patches')

export interface StockSsh2 {
  /** The package's directory: what to require. */
  readonly path: string
  remove(): void
}

/**
 * ssh2 as its authors made it: what is installed, with our patches taken off again, last one first.
 * A test that shows a fault there is known to see it, so that its absence here means something.
 */
export function makeStockSsh2(): StockSsh2 {
  const home = mkdtempSync(join(tmpdir(), 'vaultterm-ssh2-'))
  const path = join(home, 'node_modules/ssh2')
  cpSync(installed, path, { recursive: true })
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'))
  for (const name of Object.keys(manifest.dependencies)) {
    const link = join(home, 'node_modules', name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), link)
  }
  const series = readdirSync(patches).filter((file) => /^ssh2\+.*\.patch$/.test(file))
  for (const file of series.toSorted().toReversed()) {
    execFileSync('git', ['apply', '--reverse', join(patches, file)], {
      cwd: home,
      // A repository around the temporary directory is none of its business.
      env: { ...process.env, GIT_CEILING_DIRECTORIES: dirname(home) },
    })
  }
  return { path, remove: () => rmSync(home, { recursive: true, force: true }) }
}
