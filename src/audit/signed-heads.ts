import { hash, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errorCode } from '../errors.ts'
import { parseTenantId, type TenantId } from '../postgres/index.ts'
import { formatCheckpoint } from './checkpoint.ts'
import { HeadOutdated, SignedHeadsUnusable } from './errors.ts'
import { type CompactRange, isCompactRange, rootHash } from './merkle.ts'
import { decodeBase64, formatNote, parseNote } from './note.ts'

/** The largest signed head of a log, as remembered outside of Postgres. */
export interface SignedHead extends CompactRange {
  readonly tenant: TenantId
  readonly origin: string
  /** Key id and signature, as in a line of the signed note. */
  readonly signature: Buffer
}

/** Remembers signed heads in a file that a person with access to the database cannot change. */
export interface SignedHeads {
  find(tenant: TenantId): SignedHead | undefined
  list(): Iterable<SignedHead>
  /** Reads the lines that other processes have added. */
  refresh(): Promise<void>
  /**
   * Resolves when the head is on disk. A smaller head of the same log changes nothing. One of another log of
   * the tenant takes the place of the last only with `isAnew`. Throws HeadOutdated without it: somebody has
   * begun a new log while this head was signed.
   */
  record(head: SignedHead, options?: { readonly isAnew?: boolean }): Promise<void>
  /** Rewrites the file with one line a log, when most of its lines are old. One process may do that. */
  compact(): Promise<void>
}

/** The signed note of a head. */
export function noteOf(head: SignedHead): string {
  const { origin, signature } = head
  const text = formatCheckpoint({ ...head, root: rootHash(head) })
  const [keyId, bytes] = [signature.subarray(0, 4), signature.subarray(4)]
  return formatNote({ text, signatures: [{ name: origin, keyId, signature: bytes }] })
}

/** A head with the signature of its note, which has exactly one. */
export function headOf(
  tenant: TenantId,
  { origin, size, hashes, note }: CompactRange & { readonly origin: string; readonly note: string },
): SignedHead {
  const [signed] = parseNote(note).signatures
  if (signed === undefined) throw new TypeError('a checkpoint without a signature')
  const signature = Buffer.concat([signed.keyId, signed.signature])
  return { tenant, origin, size, hashes, signature }
}

/** Stores no file: for a process without a home. It remembers its signed heads until it ends. */
export function forgetfulHeads(): SignedHeads {
  const heads = new Map<TenantId, SignedHead>()
  return {
    find: (tenant) => heads.get(tenant),
    list: () => heads.values(),
    refresh: async () => {},
    record: async (head, { isAnew = false } = {}) => {
      requireOfSame(heads.get(head.tenant), head, isAnew)
      keep(heads, head)
    },
    compact: async () => {},
  }
}

const version = 'vaultterm-signed-heads/1'
const linesMin = 1000
/** Many times the size for 100,000 logs. */
const fileBytesMax = 256 * 2 ** 20

/** A head that is to be recorded. */
interface Waiting {
  readonly head: SignedHead
  readonly isAnew: boolean
  done(): void
  failed(err: unknown): void
}

/**
 * The same in a file of lines; the last line of a log counts: `tenant origin size hashes signature
 * check`. The check is the start of the SHA-256 of the line before it. A line that a crash cut off
 * is skipped; a whole line with a wrong check stops all signing.
 *
 * Several processes may append. One of them may also compact: it replaces the file. A process that
 * appended to the replaced file notices it, and appends again.
 */
export class SignedHeadsFile implements SignedHeads {
  readonly #path: string
  readonly #heads = new Map<TenantId, SignedHead>()
  #lines = 0
  /** Which file was read, and how far. */
  #read: { readonly inode: bigint; readonly size: bigint } | undefined
  #waiting: Waiting[] = []
  /** One at a time: reading, appending, compacting. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(path: string) {
    this.#path = path
  }

  find(tenant: TenantId): SignedHead | undefined {
    return this.#heads.get(tenant)
  }

  list(): Iterable<SignedHead> {
    return this.#heads.values()
  }

  refresh(): Promise<void> {
    return this.#inTurn(() => this.#load())
  }

  record(head: SignedHead, { isAnew = false } = {}): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ head, isAnew, done: resolve, failed: reject })
    // Those that come while another write is on its way share one.
    this.#inTurn(() => this.#appendWaiting()).catch(() => {})
    return promise
  }

  compact(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#load()
      if (this.#lines < linesMin || this.#lines < 2 * this.#heads.size) return
      const old = await this.#openIfThere()
      if (old === undefined) return
      try {
        // Of its own: another process may compact at the same time.
        const draft = `${this.#path}.${randomUUID()}.new`
        const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL
        const file = await open(draft, flags | constants.O_NOFOLLOW, 0o600)
        try {
          await file.chmod(0o600)
          await file.writeFile(
            [version, ...[...this.#heads.values()].map(formatLine), ''].join('\n'),
          )
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(draft, this.#path)
        await syncDirectory(this.#path)
        // Lines that another process appended before it could see the new file.
        const text = await this.#readFrom(old, Number(this.#read?.size ?? 0n))
        this.#read = undefined
        const late = parseLines(this.#path, text)
        if (late.length > 0) await this.#append(late)
        this.#lines = this.#heads.size
      } finally {
        await old.close()
      }
    })
  }

  async #appendWaiting(): Promise<void> {
    const waiting = this.#waiting
    this.#waiting = []
    if (waiting.length === 0) return
    try {
      // Another process may have begun a new log of a tenant since this one looked.
      await this.#load()
      const good = waiting.filter((one) => this.#isOfSame(one))
      if (good.length === 0) return
      await this.#append(good.map(({ head }) => head))
      for (const { head, done } of good) {
        keep(this.#heads, head)
        done()
      }
    } catch (err) {
      for (const { failed } of waiting) failed(err)
    }
  }

  /** Tells who waits that it is not. */
  #isOfSame({ head, isAnew, failed }: Waiting): boolean {
    try {
      requireOfSame(this.#heads.get(head.tenant), head, isAnew)
      return true
    } catch (err) {
      failed(err)
      return false
    }
  }

  async #append(heads: readonly SignedHead[]): Promise<void> {
    const text = `${heads.map(formatLine).join('\n')}\n`
    for (;;) {
      const file = (await this.#openIfThere()) ?? (await this.#create())
      try {
        const { size, ino } = await file.stat({ bigint: true })
        const isWhole = size === 0n || (await this.#readFrom(file, Number(size) - 1)) === '\n'
        const start = size === 0n ? `${version}\n` : isWhole ? '' : '\n'
        await file.appendFile(start + text)
        await file.sync()
        this.#lines += heads.length
        // What is read already is not read again, if nobody else has written.
        const isRead = this.#read?.inode === ino && this.#read.size === size
        if (isRead)
          this.#read = { inode: ino, size: size + BigInt(Buffer.byteLength(start + text)) }
        if (size === 0n) await syncDirectory(this.#path)
        if ((await stat(this.#path, { bigint: true })).ino === ino) return
      } finally {
        await file.close()
      }
    }
  }

  async #load(): Promise<void> {
    const file = await this.#openIfThere()
    if (file === undefined) return
    try {
      const { size, ino: inode } = await file.stat({ bigint: true })
      if (this.#read?.inode === inode && this.#read.size === size) return
      if (size > fileBytesMax) throw this.#unusable('is too large')
      // From its start: text that is appended meanwhile after half a line belongs to another line.
      const heads = parseLines(this.#path, await this.#readFrom(file, 0))
      for (const head of heads) keep(this.#heads, head)
      this.#lines = heads.length
      this.#read = { inode, size }
    } finally {
      await file.close()
    }
  }

  async #readFrom(file: FileHandle, start: number): Promise<string> {
    const chunks: Buffer[] = []
    for (let at = start; ; ) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(2 ** 16), 0, 2 ** 16, at)
      if (bytesRead === 0) return Buffer.concat(chunks).toString('utf8')
      chunks.push(buffer.subarray(0, bytesRead))
      at += bytesRead
    }
  }

  /** Never through a link, and never a file of another user. */
  async #openIfThere(): Promise<FileHandle | undefined> {
    const flags = constants.O_RDWR | constants.O_APPEND
    const file = await this.#tryOpen(flags, ['ENOENT'])
    if (file === undefined) return undefined
    try {
      const found = await file.stat()
      if (!found.isFile()) throw this.#unusable('is not a file')
      const own = process.getuid?.() ?? found.uid
      if (found.uid !== own && own !== 0)
        throw this.#unusable(`belongs to another user (id ${found.uid})`)
      if ((found.mode & 0o022) !== 0) throw this.#unusable('is writable by others: chmod 600 it')
      if ((found.mode & 0o077) !== 0) await file.chmod(0o600)
      return file
    } catch (err) {
      await file.close()
      throw err
    }
  }

  async #create(): Promise<FileHandle> {
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_EXCL
    const file = await this.#tryOpen(flags, ['EEXIST'])
    // Another process was faster.
    if (file === undefined) return this.#openAgain()
    // A command run by root must not take the file from the user that serves.
    const { uid, gid } = await stat(dirname(this.#path))
    if (process.getuid?.() === 0 && uid !== 0) await file.chown(uid, gid)
    return file
  }

  async #openAgain(): Promise<FileHandle> {
    const file = await this.#openIfThere()
    if (file === undefined) throw this.#unusable('appeared and disappeared while it was opened')
    return file
  }

  async #tryOpen(flags: number, expected: readonly string[]): Promise<FileHandle | undefined> {
    try {
      return await open(this.#path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK, 0o600)
    } catch (err) {
      const code = reasonOf(err)
      if (expected.includes(code)) return undefined
      throw this.#unusable(`cannot be opened: ${code}`, err)
    }
  }

  #unusable(reason: string, cause?: unknown): SignedHeadsUnusable {
    return new SignedHeadsUnusable(this.#path, reason, cause)
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => {})
    return turn
  }
}

/** Throws HeadOutdated. */
function requireOfSame(last: SignedHead | undefined, head: SignedHead, isAnew: boolean): void {
  if (isAnew || last === undefined || last.origin === head.origin) return
  throw new HeadOutdated(head.origin)
}

/** Of one log the larger head stays; another log of the same tenant is a later epoch of it. */
function keep(heads: Map<TenantId, SignedHead>, head: SignedHead): void {
  const known = heads.get(head.tenant)
  if (known?.origin === head.origin && known.size >= head.size) return
  heads.set(head.tenant, head)
}

function formatLine({ tenant, origin, size, hashes, signature }: SignedHead): string {
  const nodes = hashes.map((node) => node.toString('base64')).join(',')
  const line = `${tenant} ${origin} ${size} ${nodes} ${signature.toString('base64')}`
  return `${line} ${checkOf(line)}`
}

function parseLines(path: string, text: string): SignedHead[] {
  // After the last newline there is nothing, or a part that a crash cut off.
  const lines = text.split('\n').slice(0, -1)
  if (lines[0]?.startsWith('vaultterm-signed-heads/') && lines[0] !== version) {
    throw new SignedHeadsUnusable(path, `is of another version (${lines[0]})`)
  }
  return lines.flatMap((line, at) => {
    const [, body, check] = /^(\S+ \S+ \d+ \S+ \S+) ([0-9a-f]{16})$/.exec(line) ?? []
    if (body === undefined) return []
    const head = checkOf(body) === check ? parseBody(body) : undefined
    if (head !== undefined) return [head]
    throw new SignedHeadsUnusable(
      path,
      `was changed in line ${at + 1}: restore it, or move it away and verify every log`,
    )
  })
}

function parseBody(body: string): SignedHead | undefined {
  const [id = '', origin = '', count, nodes = '', signed = ''] = body.split(' ')
  const tenant = parseTenantId(id)
  const hashes = nodes.split(',').map(decodeBase64)
  const signature = decodeBase64(signed)
  const range = { size: Number(count), hashes: hashes.filter((node) => node !== undefined) }
  if (tenant === undefined || signature === undefined || signature.length < 5) return undefined
  return isCompactRange(range) ? { tenant, origin, ...range, signature } : undefined
}

function checkOf(line: string): string {
  return hash('sha256', line).slice(0, 16)
}

/** A name is on disk once its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(dirname(path), constants.O_RDONLY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function reasonOf(err: unknown): string {
  return errorCode(err) ?? 'unknown error'
}
