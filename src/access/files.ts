import { appendEvent } from '../audit/index.ts'
import type { Identity } from '../auth/index.ts'
import type { Database } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { Authorization } from './authorization.ts'
import { storedText } from './stored-text.ts'

/** Something that was done to a file of a target by SFTP. */
export interface FileOperation {
  readonly op:
    | 'open'
    | 'read'
    | 'write'
    | 'list'
    | 'remove'
    | 'rename'
    | 'mkdir'
    | 'rmdir'
    | 'symlink'
    | 'hardlink'
    | 'copy'
    | 'setstat'
  readonly path: string
  /** Of a rename, a link or a copy. */
  readonly to?: string
  /** Of a transfer. */
  readonly bytes?: number
  /** In hex, of a transfer that went from the first byte on without a gap. */
  readonly sha256?: string
  /** The status of SFTP, 0 for success; absent where the session ended before it came. */
  readonly code?: number
}

const pathMax = 1024

/** Puts operations on record, in their order, all of them or none. */
export async function recordFiles(
  database: Database,
  { user }: Identity,
  { tenant, target }: Pick<Authorization, 'tenant' | 'target'>,
  session: SessionId,
  operations: readonly FileOperation[],
): Promise<void> {
  await database.write(tenant, async (tx) => {
    for (const { op, path, to, bytes, sha256, code } of operations) {
      await appendEvent(tx, {
        type: 'file.operation',
        public: {
          session,
          user: user.id,
          target: target.id,
          operation: op,
          bytes: bytes === undefined ? undefined : String(bytes),
          status: code === undefined ? undefined : String(code),
        },
        private: {
          path: storedText(path, pathMax),
          to: to === undefined ? undefined : storedText(to, pathMax),
          // Of what is in a file: as private as its name.
          sha256,
        },
      })
    }
  })
}
