import type { Readable } from 'node:stream'
import type { TenantId } from '../postgres/index.ts'
import type { SessionId } from './session-id.ts'

/**
 * Where recordings are kept.
 *
 * Names are made of ids alone. A file is created once and never again under the same name; it is
 * written by one process, which appends. Every call may fail, and may take for ever: callers set
 * the time-outs.
 */
export interface Store {
  /** A new, empty file. Rejects when there is one of this name already. */
  create(tenant: TenantId, session: SessionId): Promise<StoredFile>
  /**
   * The file of an earlier process, to be repaired. Undefined when there is none; rejects with
   * RecordingUnusable.
   */
  reopen(tenant: TenantId, session: SessionId): Promise<StoredFile | undefined>
  /**
   * The file from its beginning to the end of its last whole line. Undefined when there is none;
   * rejects with RecordingUnusable for a path that is not a file, and for a file that is not as
   * long as expected.
   */
  read(
    tenant: TenantId,
    session: SessionId,
    expectedBytes?: number | null,
  ): Promise<Readable | undefined>
  remove(tenant: TenantId, session: SessionId): Promise<void>
  /** How much room there is, of how much. */
  space(): Promise<{ readonly freeBytes: number; readonly totalBytes: number }>
}

/** A file that is being written. */
export interface StoredFile {
  /** Resolves when every byte is in the file: another process sees it, this one may die. */
  append(bytes: Buffer): Promise<void>
  /** Resolves when all that was appended, and the file's name, would survive a power cut. */
  sync(): Promise<void>
  /** In bytes; of a sparse file, with its holes. */
  size(): Promise<number>
  truncate(bytes: number): Promise<void>
  /** All that is in the file, in order. */
  read(): AsyncIterable<Buffer>
  close(): Promise<void>
}
