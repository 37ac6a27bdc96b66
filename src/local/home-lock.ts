import { link, open, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { z } from 'zod'
import { errorCode } from '../errors.ts'
import { HomeInUse } from './errors.ts'
import { holdFile } from './held-file.ts'
import { readIfThere } from './private-file.ts'
import { isAlive, ownProcessId, type ProcessId } from './process-id.ts'

/** The process that holds a home, with the command that it runs. */
export interface Holder extends ProcessId {
  readonly what: string
}

const holder = z.object({ pid: z.int().positive(), start: z.string(), what: z.string() })

/** A lock file without content is dead after this time: its maker was killed before it wrote. */
const namelessMs = 5000
/** Each look starts a program. */
const heldPollMs = 200

/**
 * Takes the lock at path, a file in its home, for this process. Waits at most waitMs while another
 * process has it, and takes over the lock of a dead one. Returns the function that releases it.
 * Throws HomeInUse.
 *
 * The file says who holds it. Whether its holder lives, a process in another PID namespace cannot see:
 * to it the holder of a shared home is dead. So a second file beside it, `PATH.held`, is held by the
 * system's own lock. Where that is not supported, process ids decide alone.
 */
export async function takeLock(
  path: string,
  { what, waitMs }: { readonly what: string; readonly waitMs: number },
): Promise<() => Promise<void>> {
  const deadline = performance.now() + waitMs
  const release = await hold(path, deadline)
  try {
    const own = { ...ownProcessId(), what }
    await note(path, own, deadline)
    return async () => {
      // Another process may have taken it over by mistake.
      if ((await readLock(path)).text === JSON.stringify(own)) await rm(path, { force: true })
      await release()
    }
  } catch (err) {
    await release()
    throw err
  }
}

/** The half of the lock that the system keeps. */
async function hold(path: string, deadline: number): Promise<() => Promise<void>> {
  for (;;) {
    const held = await holdFile(`${path}.held`)
    if (held === 'unsupported') return async () => {}
    if (held !== 'busy') return held
    if (performance.now() >= deadline) {
      const { holder } = await readLock(path)
      throw new HomeInUse(dirname(path), holder && { ...holder, isElsewhere: !isAlive(holder) })
    }
    await delay(heldPollMs)
  }
}

/** The half that says who holds it. */
async function note(path: string, own: Holder, deadline: number): Promise<void> {
  while (!(await tryTake(path, own))) {
    const current = await readLock(path)
    if (current.text !== undefined && isDead(current)) await takeAway(path, current.text)
    else if (performance.now() >= deadline) throw new HomeInUse(dirname(path), current.holder)
    else await delay(50)
  }
}

/** The living process that holds the lock at path. */
export async function findHolder(path: string): Promise<Holder | undefined> {
  const current = await readLock(path)
  return isDead(current) ? undefined : current.holder
}

interface Lock {
  readonly text?: string
  readonly holder?: Holder
  readonly ageMs?: number
}

async function tryTake(path: string, own: Holder): Promise<boolean> {
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(JSON.stringify(own))
    } finally {
      await file.close()
    }
    return true
  } catch (err) {
    if (errorCode(err) === 'EEXIST') return false
    throw err
  }
}

async function readLock(path: string): Promise<Lock> {
  try {
    const text = await readIfThere(path, { public: true })
    if (text === undefined) return {}
    const ageMs = Date.now() - (await stat(path)).mtimeMs
    const parsed = holder.safeParse(parseJson(text))
    return { text, ageMs, ...(parsed.success && { holder: parsed.data }) }
  } catch (err) {
    if (errorCode(err) === 'ENOENT') return {}
    throw err
  }
}

function isDead({ text, holder, ageMs = 0 }: Lock): boolean {
  if (text === undefined) return true
  return holder === undefined ? ageMs > namelessMs : !isAlive(holder)
}

/** Two processes may find the same dead lock: one of them moves it, and then checks the moved file. */
async function takeAway(path: string, dead: string): Promise<void> {
  const aside = `${path}-${process.pid}`
  try {
    await rename(path, aside)
    if ((await readIfThere(aside, { public: true })) !== dead) await link(aside, path)
    await rm(aside, { force: true })
  } catch (err) {
    // The other one was faster: look again.
    const code = errorCode(err)
    if (code !== 'ENOENT' && code !== 'EEXIST') throw err
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
