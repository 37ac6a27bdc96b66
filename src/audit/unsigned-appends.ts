/** What processes appended and could not see signed before they ended, in files of the home. */

import { randomUUID } from 'node:crypto'
import {
  closeSync,
  constants,
  fchownSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { open, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { errorCode } from '../errors.ts'
import { parseTenantId, type TenantId } from '../postgres/index.ts'
import { OwnAppend, type OwnAppends } from './own-appends.ts'

const line = z.strictObject({
  tenant: z.string(),
  id: z.string().max(64),
  index: z.int().nonnegative(),
  nameAt: z.int().nonnegative(),
  digest: z.base64(),
  /** Older lines have none, and so has an event of a log that the process had not seen signed. */
  origin: z.string().max(1024).optional(),
})

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants
const uuid = '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
/** After the common name: nothing and `.taken` are of older versions. */
const endings = new RegExp(`^(\\.${uuid}(\\.taken)?)?$`)

interface Entry {
  readonly tenant: TenantId
  readonly append: OwnAppend
}

/**
 * A file is written whole, under a name of its own, and never changed: several processes write and read without
 * waiting for each other. It stays until each of its events is settled, so that a process which has read it
 * may be killed as well.
 */
export class UnsignedAppends {
  readonly #path: string
  readonly #own: OwnAppends
  /** The files that this process wrote or read. What is open of them is remembered. */
  readonly #files = new Map<string, readonly Entry[]>()

  /** The path begins the names of the files. */
  constructor(path: string, own: OwnAppends) {
    this.#path = path
    this.#own = own
  }

  /**
   * Writes all that is remembered, in the place of what this process wrote or read before. It is on disk when
   * this returns. Synchronous, because a process may have no more time than that.
   */
  keep(): void {
    const before = [...this.#files.keys()]
    const entries = this.#own
      .tenants()
      .flatMap((tenant) => Array.from(this.#own.of(tenant), (append) => ({ tenant, append })))
    if (entries.length > 0) this.#files.set(this.#write(entries.map(format)), entries)
    for (const name of before) {
      rmSync(this.#at(name), { force: true })
      this.#files.delete(name)
    }
  }

  /** Remembers what other processes left. Answers how many lines it could not read. */
  async take(remember: (tenant: TenantId, append: OwnAppend) => void): Promise<number> {
    let unread = 0
    let failure: unknown
    for (const name of await this.#list()) {
      if (this.#files.has(name)) continue
      try {
        const text = await this.#read(name)
        if (text === undefined) continue
        const parsed = text.split('\n').filter(Boolean).map(parse)
        const entries = parsed.filter((entry) => entry !== undefined)
        unread += parsed.length - entries.length
        for (const { tenant, append } of entries) remember(tenant, append)
        this.#files.set(name, entries)
      } catch (err) {
        // One that nobody can read hides no other.
        failure ??= err
      }
    }
    if (failure !== undefined) throw failure
    return unread
  }

  /** Removes the files of which nothing is remembered any more: it was signed, or told as lost. */
  async release(): Promise<void> {
    for (const [name, entries] of this.#files) {
      if (entries.some(({ tenant, append }) => this.#own.has(tenant, append))) continue
      await rm(this.#at(name), { force: true })
      this.#files.delete(name)
    }
  }

  #at(name: string): string {
    return join(dirname(this.#path), name)
  }

  async #list(): Promise<string[]> {
    const start = basename(this.#path)
    const names = await readdir(dirname(this.#path)).catch(unlessAbsent)
    return (names ?? []).filter(
      (name) => name.startsWith(start) && endings.test(name.slice(start.length)),
    )
  }

  /** undefined when another process has removed it meanwhile. */
  async #read(name: string): Promise<string | undefined> {
    const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK
    const file = await open(this.#at(name), flags).catch(unlessAbsent)
    if (file === undefined) return undefined
    try {
      return await file.readFile('utf8')
    } finally {
      await file.close()
    }
  }

  /** The name appears with the whole text. */
  #write(lines: readonly string[]): string {
    const path = `${this.#path}.${randomUUID()}`
    const draft = `${path}.new`
    const file = openSync(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
    try {
      // A command run by root must leave it to the user that serves.
      const { uid, gid } = statSync(dirname(path))
      if (process.getuid?.() === 0 && uid !== 0) fchownSync(file, uid, gid)
      writeFileSync(file, `${lines.join('\n')}\n`)
      fsyncSync(file)
    } catch (err) {
      rmSync(draft, { force: true })
      throw err
    } finally {
      closeSync(file)
    }
    renameSync(draft, path)
    syncDirectory(dirname(path))
    return basename(path)
  }
}

/** A name is on disk once its directory is. */
function syncDirectory(path: string): void {
  const directory = openSync(path, O_RDONLY)
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

function format({ tenant, append: { id, index, nameAt, digest, origin } }: Entry): string {
  return JSON.stringify({ tenant, id, index, nameAt, digest: digest.toString('base64'), origin })
}

function parse(text: string): Entry | undefined {
  try {
    const { tenant, digest, ...rest } = line.parse(JSON.parse(text))
    const append = new OwnAppend({ ...rest, digest: Buffer.from(digest, 'base64') })
    const log = parseTenantId(tenant)
    return log && { tenant: log, append }
  } catch {
    return undefined
  }
}

function unlessAbsent(err: unknown): undefined {
  if (errorCode(err) !== 'ENOENT') throw err
}
