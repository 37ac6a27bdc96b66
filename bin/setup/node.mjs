import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fail } from './step.mjs'

/** The oldest Node of the user's own that the project runs on. */
const oldest = [24, 15]

/**
 * The Node to run on: the one that npm installed for this platform, or a new enough one on PATH.
 * With `known`, the facts of an earlier choice, which must be one of these.
 */
export function findNode(root, known) {
  const bundled = join(root, 'node_modules', `node-${process.platform}-${process.arch}`)
  const path = bundledNode(root)
  if (existsSync(path) && (known === undefined || known === path)) {
    const { version } = JSON.parse(readFileSync(join(bundled, 'package.json'), 'utf8'))
    // Starting it proves that it fits this machine (it needs glibc); a known one has proved it.
    if (known === path || versionOf(path) !== undefined) return { path, version, home: bundled }
  }
  const candidates = [
    process.execPath,
    ...(process.env.PATH ?? '').split(delimiter).map((at) => join(at, 'node')),
  ].filter((candidate) => known === undefined || candidate === known)
  for (const candidate of candidates) {
    const version = candidate === process.execPath ? process.versions.node : versionOf(candidate)
    if (version !== undefined && isNewEnough(version))
      return { path: candidate, version, home: join(candidate, '..', '..') }
  }
  return fail(
    `there is no Node package for ${process.platform}-${process.arch} that starts here: ` +
      `install Node ${oldest.join('.')} or later`,
  )
}

/** Where npm puts the Node of this platform. */
export function bundledNode(root) {
  return join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node')
}

function isNewEnough(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > oldest[0] || (major === oldest[0] && minor >= oldest[1])
}

function versionOf(path) {
  if (!existsSync(path)) return undefined
  try {
    const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 20_000 }
    return execFileSync(path, ['-p', 'process.versions.node'], options).trim()
  } catch {
    return undefined
  }
}
