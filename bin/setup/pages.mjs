import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { environment } from './npm.mjs'
import { run, say, step } from './step.mjs'

/** Where the built pages are, and the sources that they were built from. */
const built = (root) => join(root, 'web', 'dist')
const configFile = (root) => join(root, 'web', 'vite.config.ts')
const keyFile = 'sources'

/**
 * Whether the pages are built from the sources as they are, or cannot be: a build that failed is not tried
 * again before something changes.
 */
export function havePages({ root, state }) {
  if (!existsSync(configFile(root))) return true
  const key = keyOf(root)
  return [join(built(root), keyFile), failureFile(state)].some((file) => read(file) === key)
}

const without = 'SSH, the commands and plain pages work without them'

/** Whether this user can write what a build writes. If not, it is said how to help it. */
export function mayBuildPages({ root }) {
  try {
    for (const path of [root, join(root, 'web')]) accessSync(path, constants.W_OK)
    return true
  } catch (err) {
    say(
      `the pages are not built: ${err.message}. Run \`bin/run build\` as a user who can write. ${without}`,
    )
    return false
  }
}

/**
 * Builds the pages. Without them VaultTerm runs, and its pages are plain: a failure is told, and stops no
 * start. Whether it was done.
 */
export async function buildPages({ root, state, node }) {
  const key = keyOf(root)
  const draft = `${built(root)}.new`
  const { status, output } = await step('building the pages', () => build({ root, node, draft }))
  mkdirSync(state, { recursive: true })
  if (status !== 0) {
    rmSync(draft, { recursive: true, force: true })
    const log = join(state, 'pages.log')
    writeFileSync(log, output)
    writeFileSync(failureFile(state), key)
    say(`the pages were not built: read ${log}, then \`bin/run build\`. ${without}`)
    return false
  }
  writeFileSync(join(draft, keyFile), key)
  rmSync(built(root), { recursive: true, force: true })
  renameSync(draft, built(root))
  rmSync(failureFile(state), { force: true })
  return true
}

/** Vite bundles; it needs no network and no compiler. */
function build({ root, node, draft }) {
  const vite = join(root, 'node_modules', 'vite', 'bin', 'vite.js')
  const args = [
    'build',
    '--config',
    configFile(root),
    '--configLoader',
    'native',
    '--outDir',
    draft,
  ]
  const env = { ...environment(root, node.path), NODE_ENV: 'production', NO_COLOR: '1' }
  return run(node.path, [vite, ...args, '--logLevel', 'warn'], { cwd: root, env })
}

const failureFile = (state) => join(state, 'pages-failed')

function read(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** The digest of all that the pages are built from. */
function keyOf(root) {
  const hash = createHash('sha256')
  const web = join(root, 'web')
  const files = readdirSync(web, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((file) => !file.startsWith(built(root)))
  const shared = ['package-lock.json', 'tsconfig.json'].map((name) => join(root, name))
  for (const file of [...files.sort(), ...shared]) {
    const bytes = readFileSync(file)
    hash.update(`${file.slice(root.length)}:${bytes.length}:`).update(bytes)
  }
  return hash.digest('hex')
}
