/**
 * Makes a checkout ready to run, and prints the path of the Node to run it on.
 *
 * It runs on any Node from 20 on, before anything is installed, so it is plain JavaScript without
 * dependencies. Each step can be interrupted and repeated: the file `ready` is written last.
 */

import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildBinding } from './binding.mjs'
import { assertWritable, warnOfOwner } from './checkout.mjs'
import { withLock } from './lock.mjs'
import { bundledNode, findNode } from './node.mjs'
import { installDependencies } from './npm.mjs'
import { buildPages, havePages, mayBuildPages } from './pages.mjs'
import { applyPatches } from './patches.mjs'
import { announceStarts, fail, say, step } from './step.mjs'

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))
const state = join(root, 'node_modules', '.vaultterm')
/** Stored in the state for the Node that npm installed in this checkout. */
const bundled = 'bundled'

const major = Number(process.versions.node.split('.')[0])
if (major < 20) fail(`Node ${process.versions.node} is too old: install Node 20 or later, with npm`)

const isBuilt =
  !existsSync(join(root, 'src', 'main.ts')) && existsSync(join(root, 'dist', 'main.js'))
// A program that root starts has root's rights. So root is warned at each start, and another user at set-up.
const isRoot = process.geteuid?.() === 0
if (isRoot) warnOfOwner(root)
if (isBuilt) {
  // A packaged copy was set up when it was made, and may be read-only.
  process.stdout.write(findNode(root).path)
} else {
  if (readyNode() === undefined) {
    assertWritable(root)
    if (!isRoot) warnOfOwner(root)
    await withLock(`${root}/.setup-lock`, setUp)
  }
  const ready = readyNode() ?? fail('set-up did not finish: run it again')
  if (!havePages({ root, state })) await preparePages(ready)
  process.stdout.write(ready)
}

async function setUp(addOwner) {
  announceStarts(addOwner)
  // Another launcher may have done it all while this one waited for the lock.
  if (readyNode() !== undefined) return
  const dependencies = dependenciesKey()
  if (readState('dependencies') !== dependencies) {
    await step('installing dependencies (npm ci)', () => installDependencies(root))
    writeState('dependencies', dependencies)
  }
  const node = findNode(root)
  await applyPatches({ root, state, node })
  const binding = await buildBinding({ root, state, node })
  if (binding.built) say(`ssh2: native ciphers ${binding.how}`)
  else
    say(
      `ssh2: ciphers in JavaScript, at about half the speed: ${binding.why}. ` +
        'Everything works. To build them, fix this and remove node_modules/.vaultterm',
    )
  // Without the path of this checkout: in a copy of it, that would lead to the first one.
  const kept = node.path === bundledNode(root) ? bundled : node.path
  writeState('ready', JSON.stringify({ key: readyKey(node.version), node: kept }))
}

/** The pages have a key of their own: a change of them repeats nothing else of the set-up. */
async function preparePages(ready) {
  const pages = { root, state, node: { path: ready } }
  if (!mayBuildPages(pages)) return
  await withLock(`${root}/.setup-lock`, async (addOwner) => {
    announceStarts(addOwner)
    if (!havePages(pages)) await buildPages(pages)
  })
}

/** The Node of a finished set-up that fits this checkout and its settings as they are now, or undefined. */
function readyNode() {
  try {
    const { key, node: kept } = JSON.parse(readState('ready') ?? '{}')
    const node = kept === bundled ? bundledNode(root) : kept
    if (typeof node !== 'string' || !existsSync(node) || !isCandidate(node)) return undefined
    return key === readyKey(findNode(root, node).version) ? node : undefined
  } catch {
    return undefined
  }
}

/** Whether set-up could choose this Node here and now. A copied checkout names that of another place. */
function isCandidate(node) {
  const onPath = (process.env.PATH ?? '').split(delimiter).map((at) => join(at, 'node'))
  return [bundledNode(root), process.execPath, ...onPath].includes(node)
}

function dependenciesKey() {
  return digest([
    `${process.platform}-${process.arch}`,
    readFileSync(join(root, 'package-lock.json')),
  ])
}

function readyKey(nodeVersion) {
  const patches = join(root, 'patches')
  const names = existsSync(patches)
    ? readdirSync(patches).filter((name) => name.endsWith('.patch'))
    : []
  const contents = names.sort().flatMap((name) => [name, readFileSync(join(patches, name))])
  return digest([dependenciesKey(), nodeVersion, ...contents])
}

function digest(parts) {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${part.length}:`).update(part)
  return hash.digest('hex')
}

function readState(name) {
  try {
    return readFileSync(join(state, name), 'utf8')
  } catch {
    return undefined
  }
}

function writeState(name, text) {
  mkdirSync(state, { recursive: true })
  const draft = join(state, `${name}.new`)
  writeFileSync(draft, text)
  renameSync(draft, join(state, name))
}
