import { type AuditEvent, appendEvent, appendLastEvent } from '../audit/index.ts'
import type { Identity } from '../auth/index.ts'
import type { Database, WriteTx } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { Authorization } from './authorization.ts'
import { shownPath } from './shown-path.ts'

/** Something that was done to a file of a target by SFTP. */
export interface FileOperation {
  readonly op:
    | 'open'
    | 'read'
    | 'write'
    | 'close'
    | 'list'
    | 'remove'
    | 'rename'
    | 'mkdir'
    | 'rmdir'
    | 'symlink'
    | 'hardlink'
    | 'copy'
    | 'setstat'
    | 'fsync'
    | 'realpath'
    | 'readlink'
    | 'lookup'
    | 'extended'
  /** In its session. Everything that goes through one handle has the number of its open. */
  readonly number: number
  /** `open`: the file stays open. `running`: more may come. `interrupted`: the end is not known. */
  readonly state?: 'open' | 'running' | 'interrupted'
  /** The raw bytes, as the client sent them. */
  readonly path?: Buffer
  /** The second path of a rename, a link or a copy; the target's answer when it resolves a path. */
  readonly to?: Buffer
  /** Of an open. */
  readonly flags?: readonly ('read' | 'write' | 'append' | 'creat' | 'trunc' | 'excl' | 'other')[]
  /** What is set, of an open, a mkdir, and a setstat: `size=0`, `mode=100644` in octal digits. */
  readonly attributes?: readonly string[]
  /** The name of an extended request. */
  readonly extension?: string
  /** Of look-ups. */
  readonly count?: number
  /**
   * The size of a transfer, a listing, look-ups or a payload. `unknown`: the process that counted
   * has ended.
   */
  readonly bytes?: number | 'unknown'
  /** There were at least that many bytes. */
  readonly atLeast?: true
  /** In hex, of a transfer that went from the first byte on without a gap, or of a payload. */
  readonly sha256?: string
  /** Of the reply to an extended request that VaultTerm does not know. */
  readonly replyBytes?: number
  readonly replySha256?: string
  /** The SFTP status, 0 for success; absent where the session ended before the status came. */
  readonly code?: number
}

/**
 * Puts operations on record, in their order, all of them or none. They go to the server in one message
 * with their commit.
 *
 * The commit does not wait for the database's disk, because clients wait for it at every file. It
 * survives the death of each of our processes. A power cut of the database loses at most the last
 * 0.6 s (three times `wal_writer_delay`), and never events that a checkpoint covers: its own commit
 * waits, and writes these first.
 */
export async function recordFiles(
  database: Database,
  { user }: Identity,
  { tenant, target }: Pick<Authorization, 'tenant' | 'target'>,
  session: SessionId,
  operations: readonly FileOperation[],
): Promise<void> {
  if (operations.length === 0) return
  const subject = { session, user: user.id, target: target.id }
  const events = operations.map((operation) => fileEvent(subject, operation))
  await database.write(tenant, (tx) =>
    Promise.all([
      commitInMemory(tx),
      ...events.map((event, at) =>
        at === events.length - 1 ? appendLastEvent(tx, event) : appendEvent(tx, event),
      ),
    ]),
  )
}

function fileEvent(
  subject: { readonly session: string; readonly user: string; readonly target: string },
  operation: FileOperation,
): AuditEvent {
  const { op, number, state, path, to, flags, extension, count, bytes, atLeast, code } = operation
  return {
    type: 'file.operation',
    public: {
      ...subject,
      operation: op,
      number: String(number),
      state,
      flags,
      attributes: operation.attributes,
      count: decimal(count),
      bytes: bytes === undefined ? undefined : String(bytes),
      atLeast,
      status: decimal(code),
    },
    private: {
      path: path && shownPath(path),
      to: to && shownPath(to),
      extension,
      // The digest of a file's contents is as private as its name.
      sha256: operation.sha256,
      replyBytes: decimal(operation.replyBytes),
      replySha256: operation.replySha256,
    },
  }
}

function commitInMemory(tx: WriteTx): Promise<number> {
  return tx.run('set local synchronous_commit = off')
}

function decimal(value: number | undefined): string | undefined {
  return value === undefined ? undefined : String(value)
}
