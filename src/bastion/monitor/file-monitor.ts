import type { Access, Authorization, FileOperation } from '../../access/index.ts'
import type { Identity } from '../../auth/index.ts'
import { background, type Log } from '../../log.ts'
import type { TenantId } from '../../postgres/index.ts'
import type { SessionId } from '../../recorder/index.ts'
import type { Turns } from '../../turns.ts'
import type { FileNotes, FileProgress, FileOperation as ToldOperation } from '../wire/calls.ts'
import { FilesExhausted } from '../wire/errors.ts'
import { fileMemory, memoryOf } from '../wire/file-memory.ts'
import { RequestForged } from './errors.ts'
import { TenantRetries, tryEach } from './tenant-retries.ts'

/** In bytes, of all sessions of one worker. */
export interface FileMemoryLimits {
  /** For running operations and open files. An honest worker counts the same, and keeps to half of this. */
  readonly knownMax: number
  /** For these, and for operations that wait for the log. Beyond it, a session that adds operations ends. */
  readonly allMax: number
}

export interface FileMonitorDeps {
  readonly access: Pick<Access, 'recordFiles'>
  /** Writes of what has ended take one, whichever worker it was in: so no tenant waits for another's. */
  readonly endTurns: Turns
  readonly log: Log
  readonly fileLimits?: FileMemoryLimits
}

/** Files and operations of a session. A worker keeps to fewer. */
const knownMax = 65_536
const limitsDefault: FileMemoryLimits = {
  knownMax: 2 * fileMemory.workerMax,
  allMax: 3 * fileMemory.workerMax,
}
/** A worker ends a session at its first failure. */
const owedMax = 10_000
const allSessions = 'the SFTP sessions on this bastion'
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
  /** Memory of both. */
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
  readonly #limits: FileMemoryLimits
  /** Memory of the running operations and open files of all sessions. */
  #knownBytes = 0
  /** Memory of the operations that wait for the log, also of sessions that have ended. */
  #owedBytes = 0

  constructor(deps: FileMonitorDeps) {
    this.#deps = deps
    this.#limits = deps.fileLimits ?? limitsDefault
    const what = 'file operations of sessions that have ended'
    this.#retries = new TenantRetries((tenant) => this.#writeLate(tenant), deps.log, what)
  }

  /**
   * Throws RequestForged for notes that no honest worker sends, and does not keep them. Throws
   * FilesExhausted when the session has to end because the memory is full; the notes are kept then.
   */
  note(
    session: SessionId,
    identity: Identity,
    authorization: Authorization,
    notes: FileNotes,
  ): void {
    const files = this.#of(session, identity, authorization)
    const { knownMax: workersMax, allMax } = this.#limits
    const bytes = sumOf(notes.asked)
    const isTooMany = files.asked.size + files.open.size + notes.asked.length > knownMax
    const isTooMuch =
      files.knownBytes + bytes > fileMemory.userMax ||
      this.#knownBytes + bytes > workersMax ||
      this.#knownBytes + this.#owedBytes + bytes > 2 * allMax
    if (bytes > 0 && (isTooMany || isTooMuch)) throw new RequestForged('too many files')
    for (const operation of notes.asked) {
      if (files.asked.has(operation.number))
        throw new RequestForged('an operation that was reported before')
      files.asked.set(operation.number, operation)
      this.#know(files, memoryOf(operation))
    }
    for (const progress of notes.moved) {
      const file = files.open.get(progress.number)
      if (file !== undefined) file.progress = progress
    }
    if (bytes > 0 && this.#knownBytes + this.#owedBytes > allMax)
      throw new FilesExhausted(allSessions)
  }

  /**
   * Resolves when the operations are on the log. Operations that cannot be written now are kept and
   * tried again.
   * Throws FilesExhausted when there is no memory for them. The log gets the operations that were noted
   * at the end of the session, as interrupted.
   */
  async record(
    session: SessionId,
    identity: Identity,
    authorization: Authorization,
    operations: readonly ToldOperation[],
  ): Promise<void> {
    const files = this.#of(session, identity, authorization)
    if (files.owed.length > owedMax) throw new RequestForged('more than the log takes')
    const bytes = sumOf(operations)
    if (this.#knownBytes + this.#owedBytes + bytes > this.#limits.allMax) {
      throw new FilesExhausted(allSessions)
    }
    for (const operation of operations) this.#know(files, settle(files, operation))
    this.#owe(files, operations)
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
    this.#interrupt(files)
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
      this.#interrupt(files)
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
    if (late.length < lateMax) {
      late.push({ session, files })
      return
    }
    this.#owedBytes -= sumOf(files.owed)
    this.#deps.log.error({ session, tenant }, 'too many file operations wait: these are lost')
  }

  #know(files: SessionFiles, bytes: number): void {
    files.knownBytes += bytes
    this.#knownBytes += bytes
  }

  #owe(files: SessionFiles, operations: readonly FileOperation[]): void {
    files.owed.push(...operations)
    this.#owedBytes += sumOf(operations)
  }

  /** The session is over: its running operations and open files become operations that wait for the log. */
  #interrupt(files: SessionFiles): void {
    this.#owe(files, interrupted(files))
    this.#know(files, -files.knownBytes)
    files.asked.clear()
    files.open.clear()
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
      this.#owedBytes -= sumOf(batch)
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

/** Returns the change of the memory that the session's files take. */
function settle(files: SessionFiles, operation: ToldOperation): number {
  const { number, state, op, bytes } = operation
  const asked = files.asked.get(number)
  const file = files.open.get(number)
  const released = asked === undefined ? 0 : memoryOf(asked)
  files.asked.delete(number)
  if (state === 'open') {
    files.open.set(number, { operation, progress: undefined })
    return memoryOf(operation) - released - (file === undefined ? 0 : memoryOf(file.operation))
  }
  if (state === 'running' && file !== undefined) {
    const direction = op === 'read' ? 'read' : 'written'
    file.progress = { number, ...file.progress, ...(bytes !== undefined && { [direction]: bytes }) }
    return -released
  }
  files.open.delete(number)
  return -released - (file === undefined ? 0 : memoryOf(file.operation))
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

function sumOf(operations: readonly Pick<FileOperation, 'path' | 'to'>[]): number {
  return operations.reduce((sum, operation) => sum + memoryOf(operation), 0)
}
