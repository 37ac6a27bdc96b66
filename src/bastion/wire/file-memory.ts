import type { FileOperation } from './calls.ts'

/**
 * The memory of the main process for files of SFTP sessions: for each operation that is under way and for
 * each file that is open. A worker counts it before it tells of an operation, and keeps to these limits. The
 * main process counts it too, and has wider limits: only a worker that was taken over exceeds them.
 */
export const fileMemory = {
  /** Of all sessions of one user in one worker, in bytes: 32,000 files with short names. */
  userMax: 32 * 1_048_576,
  /** Of all sessions of one worker, in bytes. */
  workerMax: 128 * 1_048_576,
} as const

/** Objects, maps and numbers of one operation, in bytes. */
const entryBytes = 1024

/** Bytes of memory that an operation takes: its names, and a fixed amount. */
export function memoryOf({ path, to }: Pick<FileOperation, 'path' | 'to'>): number {
  return entryBytes + (path?.length ?? 0) + (to?.length ?? 0)
}
