import type { Readable } from 'node:stream'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { TenantId } from '../postgres/index.ts'
import { RecorderFull, type RecordingFailed, RecordingMissing, recordingFailed } from './errors.ts'
import { answered, Journal } from './journal.ts'
import { createRecorderMetrics } from './metrics.ts'
import { JournalRecording, type Kept, type Recording } from './recording.ts'
import { type Recovered, type RecoveryBounds, recoverRecording, type Unended } from './recovery.ts'
import type { SessionId } from './session-id.ts'
import type { Store } from './store.ts'
import type { RecordingPoint } from './witness.ts'

/** The facts at the start of a recording. Text is as the client or the target gave it. */
export interface RecordingStart {
  readonly tenant: TenantId
  readonly session: SessionId
  /**
   * Without a terminal (exec, sftp), the middle of a long output is not kept; the digest covers the
   * whole.
   */
  readonly kind: 'terminal' | 'exec' | 'sftp'
  readonly cols: number
  readonly rows: number
  /** The terminal's type, as TERM has it. */
  readonly term?: string
  readonly title?: string
  readonly command?: string
  /** Only TERM and SHELL are kept. */
  readonly env?: { readonly [name: string]: string }
  /** Called at most once, when something cannot be put on record: the session must end now. */
  onFailure(err: RecordingFailed): void
  /**
   * Called about once a second while the recording grows, with its durable part. Never for a
   * recording that may still be empty, and so be removed.
   */
  readonly onDurable?: (point: RecordingPoint) => void
}

export interface Recorder {
  /** Resolves when the recording's first line is in its file. Rejects with RecorderFull or RecordingFailed. */
  start(start: RecordingStart): Promise<Recording>
  /**
   * The whole recording, of a live session up to now. Rejects with RecordingMissing, and with
   * RecordingUnusable for a file that is not a regular file, or not as long as expected.
   */
  open(tenant: TenantId, session: SessionId, expectedBytes?: number | null): Promise<Readable>
  /**
   * Repairs a session's recording after its process died, within bounds. Rejects when the storage
   * fails: call it again later.
   */
  recover(unended: Unended): Promise<Recovered>
  remove(tenant: TenantId, session: SessionId): Promise<void>
  /** Recordings being written now. */
  readonly live: number
  /** Ends the open recordings; they are durable then. */
  close(): Promise<void>
}

export interface RecorderOptions {
  readonly store: Store
  readonly log: Log
  readonly metrics: Metrics
  /** Below so much room no session starts; the default is 500 MiB, or 5 % of a small storage. */
  readonly floorBytes?: number
  /** Of a command without a terminal, so much output is kept from its beginning; the default is 8 MiB. */
  readonly recordedOutputBytes?: number
  readonly kept?: Kept
  readonly recovery?: Partial<RecoveryBounds>
}

const tickMs = 250
const floorBytesDefault = 500 * 1048576
const floorShare = 0.05
const spaceFreshMs = 1000
const keptDefault: Kept = { firstBytes: 8 * 1048576, lastBytes: 64 * 1024 }
/** Packets show little to people: the log has each operation on a file, with its digest. */
const keptOfFiles: Kept = { firstBytes: 256 * 1024, lastBytes: 0, errorsWhole: true }

export function createRecorder({
  store,
  log,
  metrics: registry,
  ...options
}: RecorderOptions): Recorder {
  const live = new Map<Journal, Recording>()
  const metrics = createRecorderMetrics(registry, {
    recordings: () => live.size,
    lagMs: () => {
      const nowMs = performance.now()
      return Math.max(0, ...[...live.keys()].map((journal) => journal.lagMs(nowMs)))
    },
  })
  const ticker = setInterval(() => {
    const nowMs = performance.now()
    for (const journal of live.keys()) journal.tick(nowMs)
  }, tickMs).unref()

  let space: { readonly atMs: number; readonly answer: ReturnType<Store['space']> } | undefined
  /** Checked at most once a second, for any number of sessions that start. */
  async function requireSpace(): Promise<void> {
    const nowMs = performance.now()
    if (space === undefined || nowMs - space.atMs > spaceFreshMs) {
      space = { atMs: nowMs, answer: store.space() }
    }
    const { freeBytes, totalBytes } = await answered(space.answer)
    const floorBytes = options.floorBytes ?? Math.min(floorBytesDefault, totalBytes * floorShare)
    if (freeBytes < floorBytes) throw new RecorderFull(freeBytes, floorBytes)
  }

  function keptOf(kind: RecordingStart['kind']): Kept | undefined {
    if (kind === 'terminal') return undefined
    if (kind === 'sftp') return keptOfFiles
    const { kept = keptDefault, recordedOutputBytes: firstBytes } = options
    return firstBytes === undefined ? kept : { ...kept, firstBytes }
  }

  async function start(begin: RecordingStart): Promise<Recording> {
    const { tenant, session } = begin
    const scope = log.child({ tenant, session })
    try {
      await requireSpace()
      const file = await answered(store.create(tenant, session))
      const first = Promise.withResolvers<void>()
      let started = false
      const journal = new Journal(file, {
        written: (bytes) => metrics.bytes.inc(bytes),
        durable: begin.onDurable && ((point) => recording.tellPoint(point, begin.onDurable)),
        failure: (err) => {
          if (!started) return first.reject(err)
          metrics.failures.inc({ reason: err.reason })
          scope.error({ err }, 'recording failed')
          begin.onFailure(err)
        },
      })
      const { term, ...rest } = begin
      const recording = new JournalRecording(
        journal,
        {
          ...rest,
          startedAtMs: Date.now(),
          // A terminal always has a type, so that a reader can tell it from a command's output.
          ...(begin.kind === 'terminal' ? { term: term || 'unknown' } : {}),
        },
        {
          kept: keptOf(begin.kind),
          async onEnd({ empty }) {
            live.delete(journal)
            if (!empty) return
            await store.remove(tenant, session).catch((err: unknown) => {
              scope.warn({ err }, 'empty recording could not be removed')
            })
          },
        },
      )
      live.set(journal, recording)
      journal.append(undefined, first.resolve)
      try {
        await first.promise
      } catch (err) {
        live.delete(journal)
        await journal.close()
        await store.remove(tenant, session).catch(() => undefined)
        throw err
      }
      started = true
      return recording
    } catch (err) {
      const failure = err instanceof RecorderFull ? err : recordingFailed(err)
      const reason = failure instanceof RecorderFull ? 'full' : failure.reason
      metrics.failures.inc({ reason })
      scope.error({ err: failure }, 'recording could not start')
      throw failure
    }
  }

  return {
    start,

    async open(tenant, session, expectedBytes) {
      const stream = await store.read(tenant, session, expectedBytes)
      if (stream === undefined) throw new RecordingMissing()
      return stream
    },

    async recover(unended) {
      const recovered = await recoverRecording(store, unended, options.recovery)
      const { tenant, session } = unended
      if (recovered.outcome === 'mended') {
        const { outcome: _, ...facts } = recovered
        log.warn({ tenant, session, ...facts }, 'interrupted recording mended')
      } else if (recovered.outcome === 'given-up') {
        const { why, bytes } = recovered
        log.error({ tenant, session, why, bytes }, 'interrupted recording left as it is')
      }
      return recovered
    },

    remove: (tenant, session) => store.remove(tenant, session),

    get live() {
      return live.size
    },

    async close() {
      await Promise.all([...live.values()].map((recording) => recording.end()))
      clearInterval(ticker)
    },
  }
}
