import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fail, step } from './step.mjs'

const waitMs = 15 * 60_000

/** Does work while no other launcher of this checkout does its own. A dead one's lock is taken over. */
export async function withLock(path, work) {
  const deadline = performance.now() + waitMs
  let told = false
  while (!acquire(path)) {
    const owner = readOwner(path)
    if (owner !== undefined && !isAlive(owner)) {
      takeAway(path, owner)
      continue
    }
    if (!told) step.say(`another set-up is at work (process ${owner?.pid ?? '?'}): waiting for it`)
    told = true
    if (performance.now() > deadline)
      fail(`set-up waited too long: if no other is at work, remove ${path}`)
    await delay(200)
  }
  const release = () => rmSync(path, { recursive: true, force: true })
  process.on('exit', release)
  await work()
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
  writeFileSync(
    join(path, 'owner'),
    JSON.stringify({ pid: process.pid, start: startOf(process.pid) }),
  )
  return true
}

function readOwner(path) {
  try {
    return JSON.parse(readFileSync(join(path, 'owner'), 'utf8'))
  } catch {
    return undefined // Just made, or just gone.
  }
}

/** A process id comes round again, so the start time goes with it where the system tells it. */
function isAlive({ pid, start }) {
  try {
    process.kill(pid, 0)
  } catch (err) {
    return err.code === 'EPERM'
  }
  return startOf(pid) === start
}

function startOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

/** Of two that find the same dead lock, one renames it; what it renamed is looked at once more. */
function takeAway(path, dead) {
  const aside = `${path}.${process.pid}`
  try {
    renameSync(path, aside)
  } catch {
    return
  }
  const owner = readOwner(aside)
  if (owner?.pid === dead.pid && owner.start === dead.start)
    rmSync(aside, { recursive: true, force: true })
  else renameSync(aside, path)
}
