import type { Access, Authorization, FileOperation } from '../../access/index.ts'
import type { Identity } from '../../auth/index.ts'
import { background, type Log } from '../../log.ts'
import type { TenantId } from '../../postgres/index.ts'
import type { SessionId } from '../../recorder/index.ts'
import type { Turns } from '../../turns.ts'
import type { FileNotes, FileProgress, FileOperation as ToldOperation } from '../wire/calls.ts'
import { RequestForged } from './errors.ts'
import { TenantRetries, tryEach } from './tenant-retries.ts'

export interface FileMonitorDeps {
  readonly access: Pick<Access, 'recordFiles'>
  /** Writes of what has ended take one, whichever worker it was in: so no tenant waits for another's. */
  readonly endTurns: Turns
  readonly log: Log
}

/** A worker keeps to fewer. */
const knownMax = 65_536
const knownBytesMax = 32 * 1_048_576
/** A worker ends a session at its first failure. */
const owedMax = 10_000
/** Sessions of a tenant. */
const lateMax = 10_000
const batchMax = 100

/** A file that a target has opened for a session. */
interface OpenFile {
  readonly operation: ToldOperation
  progress: FileProgress | undefined
}

/** The files of one session. */
interface SessionFiles {
  readonly identity: Identity
  readonly authorization: Authorization
  /** Operations that the client asked for and whose result the worker has not reported. */
  readonly asked: Map<number, ToldOperation>
  readonly open: Map<number, OpenFile>
  /** Of the paths in both. */
  knownBytes: number
  /** Reported, and not on the log yet. */
  owed: FileOperation[]
  /** Writes follow one another. */
  writing: Promise<void>
}

interface LateFiles {
  readonly session: SessionId
  readonly files: SessionFiles
}

/**
 * The file operations of one worker's sessions, in the memory of the main process, which survives
 * the worker. If the worker dies, the log still gets each operation that was under way, and each
 * file that was open with its number of bytes.
 */
export class FileMonitor {
  readonly #deps: FileMonitorDeps
  readonly #sessions = new Map<SessionId, SessionFiles>()
  /** The last operations of ended sessions that are not on the log yet: by tenant. */
  readonly #late = new Map<TenantId, LateFiles[]>()
  readonly #retries: TenantRetries

  constructor(deps: FileMonitorDeps) {
    this.#deps = deps
    const what = 'file operations of sessions that have ended'
    this.#retries = new TenantRetries((tenant) => this.#writeLate(tenant), deps.log, what)
  }

  note(
    session: SessionId,
    identity: Identity,
    authorization: Authorization,
    notes: FileNotes,
  ): void {
    const files = this.#of(session, identity, authorization)
    for (const operation of notes.asked) {
      if (files.asked.has(operation.number))
        throw new RequestForged('an operation that was reported before')
      files.asked.set(operation.number, operation)
      files.knownBytes += bytesOf(operation)
    }
    for (const progress of notes.moved) {
      const file = files.open.get(progress.number)
      if (file !== undefined) file.progress = progress
    }
    const isTooMany = files.asked.size + files.open.size > knownMax
    if (isTooMany || files.knownBytes > knownBytesMax) throw new RequestForged('too many files')
  }

  /**
   * Resolves when the operations are on the log. Operations that cannot be written now are kept and
   * tried again.
   */
  async record(
    session: SessionId,
    identity: Identity,
    authorization: Authorization,
    operations: readonly ToldOperation[],
  ): Promise<void> {
    const files = this.#of(session, identity, authorization)
    if (files.owed.length > owedMax) throw new RequestForged('more than the log takes')
    for (const operation of operations) settle(files, operation)
    files.owed.push(...operations)
    await this.#write(session, files)
  }

  /**
   * The session is over: logs the operations that the worker has not reported. Rejects when they
   * cannot be written now; they are tried again until they are written.
   */
  async end(session: SessionId): Promise<void> {
    const files = this.#sessions.get(session)
    if (files === undefined) return
    this.#sessions.delete(session)
    files.owed.push(...interrupted(files))
    try {
      await this.#write(session, files)
    } catch (err) {
      this.#keep(session, files)
      background(this.#retries.ask(files.identity.tenant), this.#deps.log, 'file operations')
      throw err
    }
  }

  /** The worker has ended, and so have its sessions. Returns the tenants with operations to log. */
  abandon(): readonly TenantId[] {
    for (const [session, files] of this.#sessions) {
      files.owed.push(...interrupted(files))
      if (files.owed.length > 0) this.#keep(session, files)
    }
    this.#sessions.clear()
    return [...this.#late.keys()]
  }

  /** Resolves when a tenant's were tried. What cannot be written now is tried until it can. */
  async told(tenant: TenantId): Promise<void> {
    if (this.#late.has(tenant)) await this.#retries.ask(tenant)
  }

  #keep(session: SessionId, files: SessionFiles): void {
    const { tenant } = files.identity
    const late = this.#late.get(tenant) ?? []
    this.#late.set(tenant, late)
    if (late.length < lateMax) late.push({ session, files })
    else this.#deps.log.error({ session, tenant }, 'too many file operations wait: these are lost')
  }

  #of(session: SessionId, identity: Identity, authorization: Authorization): SessionFiles {
    const known = this.#sessions.get(session)
    if (known !== undefined) return known
    const files = {
      identity,
      authorization,
      asked: new Map(),
      open: new Map(),
      knownBytes: 0,
      owed: [],
      writing: Promise.resolve(),
    }
    this.#sessions.set(session, files)
    return files
  }

  #write(session: SessionId, files: SessionFiles): Promise<void> {
    // The caller of that write gets its error.
    files.writing = files.writing.catch(() => {}).then(() => this.#writeOwed(session, files))
    return files.writing
  }

  async #writeOwed(session: SessionId, files: SessionFiles): Promise<void> {
    const { identity, authorization } = files
    while (files.owed.length > 0) {
      const batch = files.owed.slice(0, batchMax)
      await this.#deps.access.recordFiles(identity, authorization, session, batch)
      files.owed.splice(0, batch.length)
    }
  }

  async #writeLate(tenant: TenantId): Promise<void> {
    const late = this.#late.get(tenant) ?? []
    this.#late.delete(tenant)
    const { left, failure } = await tryEach(late, async ({ session, files }) => {
      using _turn = await this.#deps.endTurns.take({ tenant, user: files.identity.user.id })
      await this.#write(session, files)
    })
    if (left.length === 0) return
    this.#late.set(tenant, [...left, ...(this.#late.get(tenant) ?? [])])
    throw failure
  }
}

function settle(files: SessionFiles, operation: ToldOperation): void {
  const { number, state, op, bytes } = operation
  const asked = files.asked.get(number)
  if (asked !== undefined) files.knownBytes -= bytesOf(asked)
  files.asked.delete(number)
  const file = files.open.get(number)
  if (state === 'open') {
    files.open.set(number, { operation, progress: undefined })
    files.knownBytes += bytesOf(operation)
  } else if (state === 'running' && file !== undefined) {
    const direction = op === 'read' ? 'read' : 'written'
    file.progress = { number, ...file.progress, ...(bytes !== undefined && { [direction]: bytes }) }
  } else if (file !== undefined) {
    files.open.delete(number)
    files.knownBytes -= bytesOf(file.operation)
  }
}

/** The events for operations and open files whose end was not reported. */
function interrupted({ asked, open }: SessionFiles): FileOperation[] {
  return [
    ...[...asked.values()].map((operation) => ({ ...operation, state: 'interrupted' }) as const),
    ...[...open.values()].flatMap(interruptedFile),
  ]
}

/** The worker counted, and reported at intervals: there were at least that many bytes. */
function interruptedFile({ operation, progress }: OpenFile): FileOperation[] {
  const { op, number, flags = [], path } = operation
  const what = { number, state: 'interrupted', ...(path && { path }) } as const
  if (op === 'list') return [{ ...what, op: 'close' }]
  const ends = [['read', progress?.read] as const, ['write', progress?.written] as const]
    .filter(([way, bytes]) => bytes !== undefined || flags.includes(way))
    .map(([way, bytes]): FileOperation => {
      const counted =
        bytes === undefined ? ({ bytes: 'unknown' } as const) : { bytes, atLeast: true as const }
      return { ...what, op: way, ...counted }
    })
  return ends.length > 0 ? ends : [{ ...what, op: 'close' }]
}

function bytesOf({ path, to }: ToldOperation): number {
  return (path?.length ?? 0) + (to?.length ?? 0)
}
