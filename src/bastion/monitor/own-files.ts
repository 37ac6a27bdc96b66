import type { Stats } from 'node:fs'
import { readdir, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { unlessMissing } from '../../errors.ts'
import type { TurnOwner } from '../../turns.ts'
import { TimedTurns } from '../wire/timed-turns.ts'

/** The calls by which a path is followed. */
export interface FileCalls {
  realpath(path: string): Promise<string>
  stat(path: string): Promise<Stats>
  /** The names of the sockets directly in a directory. */
  socketsIn(directory: string): Promise<readonly string[]>
}

/**
 * Checks at the same time: a check takes one of the four threads for file calls, and a path on a storage
 * that does not answer takes it for good. No tenant takes the last of these, and one thread is left over.
 */
const checksAtOnce = 3
const waitMs = 2000

/** Tells the files of the bastion itself from those of others, whatever names lead to them. */
export class OwnFiles {
  readonly #directories: () => readonly string[]
  readonly #calls: FileCalls
  readonly #turns = new TimedTurns(checksAtOnce, waitMs)

  /** `directories` are those of our sockets and keys. */
  constructor(
    directories: () => readonly string[],
    calls: FileCalls = { realpath, stat, socketsIn },
  ) {
    this.#directories = directories
    this.#calls = calls
  }

  /**
   * The real path of a file that is not ours. Undefined for one of ours, and for a path that cannot be
   * followed within two seconds: it may lead anywhere for another user. Never rejects.
   */
  async realPathOfOther(path: string, owner: TurnOwner): Promise<string | undefined> {
    try {
      return await this.#turns.run(owner, () => this.#follow(path))
    } catch {
      return undefined
    }
  }

  async #follow(path: string): Promise<string | undefined> {
    const real = await this.#calls.realpath(path)
    const found = await this.#calls.stat(real)
    for (const directory of this.#directories()) {
      if (await this.#isIn(directory, real, found)) return undefined
    }
    return real
  }

  /** By device and inode: a file may have many names. */
  async #isIn(directory: string, real: string, found: Stats): Promise<boolean> {
    const own = await unlessMissing(this.#calls.realpath(directory))
    if (own === undefined) return false
    if (real === own || real.startsWith(`${own}/`)) return true
    if (!found.isSocket()) return false
    for (const name of await this.#calls.socketsIn(own)) {
      const file = await unlessMissing(this.#calls.stat(join(own, name)))
      if (file?.dev === found.dev && file.ino === found.ino) return true
    }
    return false
  }
}

async function socketsIn(directory: string): Promise<readonly string[]> {
  const entries = await readdir(directory, { withFileTypes: true })
  return entries.filter((entry) => entry.isSocket()).map(({ name }) => name)
}
