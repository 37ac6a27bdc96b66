import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { isOwn } from './checkout.mjs'
import { fail, run } from './step.mjs'

/** Installs the packages of the lockfile, without running their install scripts. */
export async function installDependencies(root) {
  const npm = findNpm()
  await npmCi(root, process.execPath, npm)
  // npm leaves out an optional package that says it is not for the Node that npm runs on. The one
  // we run on is there now: where something is missing, it does it over.
  const bundled = join(
    root,
    'node_modules',
    `node-${process.platform}-${process.arch}`,
    'bin',
    'node',
  )
  if (missingPackages(root).length > 0 && existsSync(bundled) && bundled !== process.execPath) {
    const copy = mkdtempSync(join(tmpdir(), 'vaultterm-node-'))
    try {
      // A copy, since npm is about to remove the one it runs on.
      copyFileSync(bundled, join(copy, 'node'))
      await npmCi(root, join(copy, 'node'), npm)
    } finally {
      rmSync(copy, { recursive: true, force: true })
    }
  }
  const missing = missingPackages(root)
  if (missing.length > 0)
    fail(`npm left out ${missing.join(', ')}: check the registry, and run again`)
}

async function npmCi(root, node, npm) {
  const cache = temporaryCache()
  const args = [
    ...['ci', '--ignore-scripts', '--include=dev', '--include=optional'],
    ...['--no-audit', '--no-fund', '--no-progress', '--loglevel=error'],
    ...(cache === undefined ? [] : ['--cache', cache]),
  ]
  const { status, output } = await run(node, [npm, ...args], {
    cwd: root,
    env: environment(root, node),
  })
  if (cache !== undefined) rmSync(cache, { recursive: true, force: true })
  if (status !== 0) {
    process.stderr.write(`failed\n${output}\n`)
    fail('npm could not install the dependencies: see above, and run again')
  }
}

/** The JavaScript file that is npm: the one that started us, or the one on PATH. */
export function findNpm() {
  const { npm_execpath: started } = process.env
  if (started !== undefined && /npm-cli\.js$/.test(started) && existsSync(started)) return started
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory, 'npm')
    if (directory === '' || !existsSync(path)) continue
    const file = realpathSync(path)
    if (file.endsWith('.js')) return file
    const beside = join(dirname(file), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js')
    if (existsSync(beside)) return beside
  }
  return fail('npm is not installed: install the npm that comes with Node')
}

/** Our environment without the variables of an outer npm, and with a home that is the user's own. */
export function environment(root, node) {
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}` }
  for (const name of Object.keys(env))
    if (
      /^npm_(lifecycle|package|command|node|execpath|config_(local_prefix|global|prefix|json|nodedir|node_gyp))/i.test(
        name,
      )
    )
      delete env[name]
  // An empty HOME would put npm's cache into the working directory; without one npm asks the system.
  // One of another user, as sudo may leave it, holds a cache and settings that are not ours.
  if (env.HOME === '' || (env.HOME !== undefined && existsSync(env.HOME) && !isOwn(env.HOME)))
    delete env.HOME
  // A user without a name has no home, and npm does not start without one.
  if (env.HOME === undefined && systemHome() === undefined) env.HOME = join(root, 'node_modules')
  return env
}

/** A cache for this run only, if npm's own cannot be written; undefined if it can. */
function temporaryCache() {
  let path =
    process.env.npm_config_cache ||
    join(environment('/', process.execPath).HOME ?? systemHome() ?? '/nonexistent', '.npm')
  while (!existsSync(path)) path = dirname(path)
  try {
    accessSync(path, constants.W_OK)
    return undefined
  } catch {
    return mkdtempSync(join(tmpdir(), 'vaultterm-npm-'))
  }
}

function systemHome() {
  const { HOME } = process.env
  delete process.env.HOME
  try {
    return homedir()
  } catch {
    return undefined
  } finally {
    if (HOME !== undefined) process.env.HOME = HOME
  }
}

/** Packages of the lockfile that are meant for this machine and are not there. */
function missingPackages(root) {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const libc =
    process.report?.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc'
  const fits = ({ os, cpu, libc: wanted }) =>
    (os === undefined || [os].flat().includes(process.platform)) &&
    (cpu === undefined || [cpu].flat().includes(process.arch)) &&
    (process.platform !== 'linux' || wanted === undefined || [wanted].flat().includes(libc))
  return Object.entries(packages)
    .filter(([path, entry]) => path !== '' && entry.os !== undefined && fits(entry))
    .map(([path]) => path)
    .filter((path) => !existsSync(join(root, path)))
}
