import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fail, say } from './step.mjs'

const waitMs = 15 * 60_000
/** Between making the lock and writing a name into it there is an instant, not more. */
const namelessMs = 5000

/**
 * Does work while no other launcher of this checkout does its own.
 *
 * The lock is a directory with a file for each process that is at work. When all of them are gone,
 * the next launcher takes it over: one that was killed may have left its npm running.
 */
export async function withLock(path, work) {
  const started = performance.now()
  let nameless
  let told = false
  while (!acquire(path)) {
    const owners = readOwners(path)
    if (owners.length > 0) nameless = undefined
    else nameless ??= performance.now()
    const isDead =
      owners.length > 0 ? !owners.some(isAlive) : performance.now() - nameless > namelessMs
    if (isDead) {
      takeAway(path, owners)
      continue
    }
    if (!told) say('another set-up is running: waiting for it')
    told = true
    if (performance.now() - started > waitMs)
      fail(`set-up waited too long: if no other is at work, remove ${path}`)
    await delay(200)
  }
  const release = () => rmSync(path, { recursive: true, force: true })
  process.on('exit', release)
  await work((pid) => addOwner(path, pid))
  process.removeListener('exit', release)
  release()
}

function acquire(path) {
  try {
    mkdirSync(path)
  } catch (err) {
    if (err.code === 'EEXIST') return false
    fail(`set-up cannot write here: ${err.message}`)
  }
  addOwner(path, process.pid)
  return true
}

function addOwner(path, pid) {
  writeFileSync(join(path, `${pid}-${startOf(pid)}`), '')
}

function readOwners(path) {
  try {
    return readdirSync(path).sort()
  } catch {
    return [] // Gone in the meantime.
  }
}

/** A process id is reused, so the start time is compared too, if the system tells it. */
function isAlive(owner) {
  const [pid, start] = owner.split('-')
  try {
    process.kill(Number(pid), 0)
  } catch (err) {
    if (err.code !== 'EPERM') return false
  }
  return startOf(pid) === start
}

/**
 * When a process started, in ticks since boot; '' for one that has ended, or if the system does not
 * tell.
 */
function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return state === 'Z' ? 'ended' : (rest[18] ?? '')
  } catch {
    return ''
  }
}

/**
 * If two processes find the same dead lock, one renames it; the renamed lock is checked once more.
 */
function takeAway(path, dead) {
  const aside = `${path}-${process.pid}`
  try {
    renameSync(path, aside)
  } catch {
    return
  }
  if (readOwners(aside).join() === dead.join()) rmSync(aside, { recursive: true, force: true })
  else renameSync(aside, path)
}
