import { execFile } from 'node:child_process'
import { access, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

/**
 * A first start makes a database, keys and a demo, which takes as long as many a test. A run makes one home
 * so, and a test gets a copy of it, to start for the second time. Tests of first starts make their own.
 */
let directory: string | undefined

/** Lets this process copy the home of the run. */
export function useBegunHomes(inDirectory: string): void {
  directory = inDirectory
}

/**
 * Fills an empty home. The first caller of the run makes what is copied; begin() gets a home, and starts
 * and stops a bastion there. Nothing is copied outside a run.
 */
export async function fillHome(
  home: string,
  begin: (home: string) => Promise<void>,
): Promise<void> {
  if (directory === undefined) return
  const [begun, ready] = [join(directory, 'home'), join(directory, 'ready')]
  if (await takes(directory)) {
    try {
      await mkdir(begun, { mode: 0o700 })
      await begin(begun)
      await writeFile(ready, '')
    } catch (err) {
      // Whoever waits makes it, and tells why it fails.
      await rm(directory, { recursive: true, force: true })
      throw err
    }
  }
  while (!(await isThere(ready))) {
    if (!(await isThere(directory))) return fillHome(home, begin)
    await sleep(100)
  }
  await promisify(execFile)('cp', ['-a', `${begun}/.`, home])
}

/** Of all processes that ask, one gets to make it. */
async function takes(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 })
    return true
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'EEXIST') return false
    throw err
  }
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
