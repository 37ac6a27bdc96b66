import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { errorCode, unlessMissing } from '../errors.ts'
import type { TenantId } from '../postgres/index.ts'
import { RecordingUnusable } from './errors.ts'
import { PromptWrites } from './prompt-writes.ts'
import { parseSessionId, type SessionId } from './session-id.ts'
import type { Store, StoredFile } from './store.ts'

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants
const readBytes = 256 * 1024
/** No line is longer: an event is cut to pieces far below. */
const lineBytesMax = 1024 * 1024

/** Recordings in a directory: `<tenant>/<session>.cast`, for their owner's eyes only. */
export async function openDirStore(directory: string): Promise<Store> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const prompt = new PromptWrites((await statfs(directory)).type)
  /** Directories of tenants whose entry would survive a power cut, as far as this process knows. */
  const entered = new Set<string>()
  const tenantDirectory = (tenant: TenantId) => join(directory, name(tenant))
  const path = (tenant: TenantId, session: SessionId) =>
    join(tenantDirectory(tenant), `${name(session)}.cast`)

  return {
    async create(tenant, session) {
      const own = tenantDirectory(tenant)
      if (!(await checkDirectory(own))) {
        await mkdir(own, { recursive: true, mode: 0o700 })
        await checkDirectory(own)
      }
      const flags = O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW
      const handle = await open(path(tenant, session), flags, 0o600)
      if (entered.has(own)) return new DirFile(handle, [own], prompt)
      // Its maker may have kept no file there, and so have synced nothing.
      return new DirFile(handle, [own, directory], prompt, () => entered.add(own))
    },

    async reopen(tenant, session) {
      await checkDirectory(tenantDirectory(tenant))
      const handle = await openIfThere(path(tenant, session), O_RDWR | O_APPEND)
      return handle === undefined ? undefined : new DirFile(handle, [], prompt)
    },

    async read(tenant, session, expectedBytes = null) {
      await checkDirectory(tenantDirectory(tenant))
      const handle = await openIfThere(path(tenant, session), O_RDONLY)
      if (handle === undefined) return undefined
      try {
        const length = await wholeLines(handle)
        if (expectedBytes !== null && (await handle.stat()).size !== expectedBytes) {
          throw new RecordingUnusable('other-size')
        }
        if (length > 0) return handle.createReadStream({ start: 0, end: length - 1 })
        await handle.close()
        return Readable.from([])
      } catch (err) {
        await handle.close()
        throw err
      }
    },

    async remove(tenant, session) {
      await checkDirectory(tenantDirectory(tenant))
      await unlessMissing(unlink(path(tenant, session)))
    },

    async space() {
      const { bavail, blocks, bsize } = await statfs(directory)
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize }
    },
  }
}

class DirFile implements StoredFile {
  readonly #handle: FileHandle
  /** Directories whose entries are new and not yet durable. */
  #parents: readonly string[]
  readonly #prompt: PromptWrites
  readonly #synced: (() => void) | undefined
  /** How many syncs are underway: a write could wait for them. */
  #syncs = 0

  constructor(
    handle: FileHandle,
    parents: readonly string[],
    prompt: PromptWrites,
    /** The parents are durable. */
    synced?: () => void,
  ) {
    this.#handle = handle
    this.#parents = parents
    this.#prompt = prompt
    this.#synced = synced
  }

  async append(bytes: Buffer): Promise<void> {
    const atOnce = this.#syncs === 0 ? this.#prompt.write(this.#handle.fd, bytes) : 0
    let rest = bytes.subarray(atOnce)
    // A disk that runs full takes a part first, and says so on the next write.
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.write(rest)
      rest = rest.subarray(bytesWritten)
    }
  }

  async sync(): Promise<void> {
    this.#syncs++
    try {
      await this.#handle.datasync()
      const parents = this.#parents
      this.#parents = []
      for (const parent of parents) await syncDirectory(parent)
      if (parents.length > 0) this.#synced?.()
    } finally {
      this.#syncs--
    }
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size
  }

  async truncate(bytes: number): Promise<void> {
    await this.#handle.truncate(bytes)
  }

  async *read(): AsyncIterable<Buffer> {
    for (let position = 0; ; ) {
      const { buffer, bytesRead } = await this.#handle.read({
        buffer: Buffer.allocUnsafe(readBytes),
        position,
      })
      if (bytesRead === 0) return
      position += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

/** Ids come from the database and from parsers, so a path is made only from a valid id. */
function name(id: string): string {
  if (parseSessionId(id) === undefined) throw new Error('the name of a recording is not a uuid')
  return id
}

/** False when it is not there; a link or a file throws, for O_NOFOLLOW looks at the last name of a path only. */
async function checkDirectory(path: string): Promise<boolean> {
  const facts = await unlessMissing(lstat(path))
  if (facts === undefined || facts.isDirectory()) return facts !== undefined
  throw new RecordingUnusable('not-a-file')
}

/**
 * A worker can put anything in the place of a recording: opening a FIFO must not wait for its other end,
 * a link is not followed, and only a regular file with one name is read or written.
 */
async function openIfThere(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    const handle = await unlessMissing(open(path, flags | O_NOFOLLOW | O_NONBLOCK))
    if (handle === undefined) return undefined
    const facts = await handle.stat()
    // Another name of the same file would be repaired with it.
    if (facts.isFile() && facts.nlink <= 1) return handle
    await handle.close()
  } catch (err) {
    // A link, a directory, a socket, or a device without a driver.
    const code = errorCode(err) ?? ''
    if (!['ELOOP', 'EISDIR', 'ENXIO', 'ENODEV'].includes(code)) throw err
    throw new RecordingUnusable('not-a-file', err)
  }
  throw new RecordingUnusable('not-a-file')
}

/** Bytes up to the end of the last whole line: a live file may be read in the middle of a write. */
async function wholeLines(handle: FileHandle): Promise<number> {
  const { size } = await handle.stat()
  const length = Math.min(size, lineBytesMax)
  const { buffer, bytesRead } = await handle.read({
    buffer: Buffer.alloc(length),
    position: size - length,
  })
  return size - length + buffer.subarray(0, bytesRead).lastIndexOf(0x0a) + 1
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
