import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { createLog } from '../../src/log.ts'
import { createMetrics } from '../../src/metrics.ts'
import { parseTenantId, type TenantId } from '../../src/postgres/index.ts'
import {
  type Cast,
  createRecorder,
  openDirStore,
  parseCast,
  parseSessionId,
  type Recorder,
  type RecorderOptions,
  type Recording,
  type RecordingDigest,
  type RecordingFailed,
  type SessionId,
} from '../../src/recorder/index.ts'

export function newTenant(): TenantId {
  const tenant = parseTenantId(randomUUID())
  if (tenant === undefined) throw new Error('a uuid is a tenant id')
  return tenant
}

export function newSession(): SessionId {
  const session = parseSessionId(randomUUID())
  if (session === undefined) throw new Error('a uuid is a session id')
  return session
}

/** A recorder on a directory of its own, and what a test asks of it. */
export interface TestRecorder extends AsyncDisposable {
  readonly recorder: Recorder
  readonly directory: string
  readonly metrics: ReturnType<typeof createMetrics>
  readonly tenant: TenantId
  begin(facts?: Partial<Parameters<Recorder['start']>[0]>): Promise<TestRecording>
}

export interface TestRecording {
  readonly recording: Recording
  readonly session: SessionId
  readonly path: string
  readonly failures: RecordingFailed[]
  /** Outputs and waits until it is written. */
  output(text: string | Buffer): Promise<void>
  /** Ends it and checks all that is promised of what is left. */
  check(): Promise<{ digest: RecordingDigest; cast: Cast; text: string }>
}

export async function testRecorder(options: Partial<RecorderOptions> = {}): Promise<TestRecorder> {
  const directory = await mkdtemp(join(tmpdir(), 'vaultterm-recorder-'))
  const metrics = options.metrics ?? createMetrics()
  const recorder = createRecorder({
    store: await openDirStore(directory),
    log: createLog('silent'),
    floorBytes: 0,
    ...options,
    metrics,
  })
  const tenant = newTenant()
  return {
    recorder,
    directory,
    metrics,
    tenant,
    async begin(facts = {}) {
      const session = facts.session ?? newSession()
      const failures: RecordingFailed[] = []
      const recording = await recorder.start({
        tenant,
        session,
        kind: 'terminal',
        cols: 80,
        rows: 24,
        onFailure: (err) => failures.push(err),
        ...facts,
      })
      return {
        recording,
        session,
        failures,
        path: join(directory, facts.tenant ?? tenant, `${session}.cast`),
        output: (text) =>
          new Promise((written) => recording.output(Buffer.from(text), () => written())),
        async check() {
          const digest = await recording.end()
          expect(digest.complete).toBe(true)
          return { digest, ...(await checkRecording(recorder, tenant, session, digest)) }
        },
      }
    },
    async [Symbol.asyncDispose]() {
      await recorder.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** A recording's whole promise: its digest is that of its bytes, and all of them play. */
export async function checkRecording(
  recorder: Recorder,
  tenant: TenantId,
  session: SessionId,
  digest: { readonly bytes: number; readonly sha256: string; readonly events: number },
): Promise<{ cast: Cast; text: string }> {
  const bytes = Buffer.concat(await (await recorder.open(tenant, session)).toArray())
  expect(bytes.length).toBe(digest.bytes)
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(digest.sha256)
  const text = bytes.toString('utf8')
  const cast = parseCast(text)
  expect(cast.events.length).toBe(digest.events)
  return { cast, text }
}
