import { cpSync, existsSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fail, run, step } from './step.mjs'

/**
 * Applies the patch series in patches/ to freshly unpacked packages.
 *
 * npm's unpacked files are kept aside, and each change of the series starts from them: a patch is
 * never applied to half-patched files.
 */
export async function applyPatches({ root, state, node }) {
  const pristine = join(state, 'pristine')
  const names = patchedPackages(join(root, 'patches'))
  const kept = existsSync(pristine) ? listPackages(pristine) : []
  if (names.length === 0 && kept.length === 0) return
  await step(`applying patches to ${names.join(', ') || 'nothing'}`, async () => {
    for (const name of kept) copy(join(pristine, name), join(root, 'node_modules', name))
    for (const name of names.filter((name) => !kept.includes(name))) {
      const draft = join(state, 'pristine.new')
      copy(join(root, 'node_modules', name), draft)
      cpSync(draft, join(pristine, name), { recursive: true })
      rmSync(draft, { recursive: true })
    }
    const patchPackage = join(root, 'node_modules', 'patch-package', 'index.js')
    const args = [patchPackage, '--error-on-fail']
    const env = { PATH: process.env.PATH, NO_COLOR: '1' }
    const { status, output } = await run(node.path, args, { cwd: root, env })
    if (status !== 0) {
      process.stderr.write(`failed\n${output}\n`)
      fail('the patches do not fit the installed packages: see above')
    }
  })
}

/** patch-package names its files NAME+VERSION[+NUMBER+TITLE].patch, with + for the slash of a scope. */
function patchedPackages(directory) {
  if (!existsSync(directory)) return []
  const names = readdirSync(directory)
    .filter((file) => file.endsWith('.patch'))
    .map((file) => file.split('+'))
    .map(([first, second]) => (first.startsWith('@') ? `${first}/${second}` : first))
  return [...new Set(names)]
}

function listPackages(directory) {
  return readdirSync(directory).flatMap((name) =>
    name.startsWith('@')
      ? readdirSync(join(directory, name)).map((rest) => `${name}/${rest}`)
      : [name],
  )
}

function copy(from, to) {
  const draft = `${to}.new`
  rmSync(draft, { recursive: true, force: true })
  cpSync(from, draft, { recursive: true })
  rmSync(to, { recursive: true, force: true })
  renameSync(draft, to)
}
