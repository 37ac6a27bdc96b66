import type { BastionLimits } from '../../config.ts'
import type { Log } from '../../log.ts'
import type { Recorder, RecordingPoint, SessionId } from '../../recorder/index.ts'
import type { ServerHostKey } from '../../ssh/index.ts'
import type { Broker, ConnectionId, FileNotes } from '../wire/calls.ts'
import type { ServiceMetrics } from '../wire/worker-metrics.ts'
import type { LeaseWatch } from './lease-watch.ts'
import type { FileBudget } from './sftp/file-budget.ts'
import type { TargetNames } from './target-names.ts'

/** The dependencies of a worker that serves clients. The host keys are its only secret. */
export interface ServiceDeps {
  readonly broker: Broker
  readonly recorder: Pick<Recorder, 'start'>
  readonly metrics: ServiceMetrics
  readonly limits: BastionLimits
  readonly hostKeys: readonly ServerHostKey[]
  /** Resolves when the main process gets it even if this process ends at once. */
  readonly noteFiles: (
    connection: ConnectionId,
    session: SessionId,
    notes: FileNotes,
  ) => Promise<void>
  /** The connection inside another one has ended completely. */
  readonly jumpClosed: (connection: ConnectionId) => void
  /** Reports to the main process which part of a growing recording is durable. */
  readonly recorded: (connection: ConnectionId, session: SessionId, point: RecordingPoint) => void
  readonly lease: Pick<LeaseWatch, 'check'>
  readonly names: TargetNames
  readonly fileBudget: FileBudget
  readonly log: Log
}
