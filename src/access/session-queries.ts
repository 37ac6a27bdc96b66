/** Row-level security narrows every statement here, but those marked, to the tenant of the transaction. */

import type { Act } from '../audit/index.ts'
import type { UserId } from '../auth/index.ts'
import type { ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import type { Evidence, SessionId } from '../recorder/index.ts'
import type { ChannelKind } from './channel-kind.ts'
import { listedColumns, type SessionRow, sessionColumns, sessionTables } from './session-row.ts'

export type NewSession = Pick<
  SessionRow,
  | 'id'
  | 'userId'
  | 'user'
  | 'keyFingerprint'
  | 'targetId'
  | 'target'
  | 'targetGeneration'
  | 'login'
  | 'kind'
  | 'via'
  | 'command'
  | 'source'
  | 'clientIdent'
  | 'node'
  | 'recording'
> & {
  readonly certificate:
    | { readonly generation: number; readonly serial: string; readonly keyId: string }
    | undefined
}

/** The digest of a recording at its end, as stored beside its session. */
export interface KeptDigest {
  readonly bytes: number
  readonly sha256: string
  readonly events: number
  readonly complete: boolean
}

/** The end of a session: a time ago, a point in time, or unknown. */
export type EndTime = { readonly agoMs: number } | { readonly at: Date } | 'unknown'

/** The state of a recording when nobody writes it any more. */
export interface RecordingEnd {
  readonly recording: KeptDigest | undefined
  /** The comparison of the recording with its witness; undefined without a witness. */
  readonly evidence: Evidence | undefined
  /** There is a recording, and no digest of it. */
  readonly isUnsealed: boolean
}

export interface SessionEnd extends RecordingEnd {
  readonly reason: string
  readonly exitStatus: number | undefined
  readonly exitSignal: string | undefined
  /** undefined: not known. */
  readonly bytes: number | undefined
  readonly time: EndTime
  /** The file of its recording is still to be found. */
  readonly isSought: boolean
}

/** Newest first. */
export function listSessions(
  tx: ReadTx,
  which: {
    readonly live?: boolean | undefined
    readonly before?: SessionId | undefined
    readonly user?: string | undefined
    readonly target?: string | undefined
    readonly kind?: ChannelKind | undefined
    /** Only this user's; null for every user's. */
    readonly userId: UserId | null
    readonly limit: number
  },
): Promise<SessionRow[]> {
  return tx.many(
    `select ${listedColumns} from ${sessionTables}
       where ($1::uuid is null or s.id < $1)
         and ($2::boolean is null or (s.ended_at is null) = $2)
         and ($3::uuid is null or s.user_id = $3)
         and ($4::text is null or s.user_name = $4)
         and ($5::text is null or s.target_name = $5)
         and ($6::text is null or s.kind = $6)
       order by s.id desc limit $7`,
    [
      which.before ?? null,
      which.live ?? null,
      which.userId,
      which.user ?? null,
      which.target ?? null,
      which.kind ?? null,
      which.limit,
    ],
  )
}

export function findSession(tx: ReadTx, id: SessionId): Promise<SessionRow | undefined> {
  return tx.maybe(`select ${sessionColumns} from ${sessionTables} where s.id = $1`, [id])
}

export async function insertSession(tx: WriteTx, session: NewSession): Promise<Date> {
  const { startedAt } = await tx.one<{ startedAt: Date }>(
    `insert into session (id, user_id, user_name, key_fingerprint, target_id, target_name,
       target_generation, login, kind, via, command, source, client_ident, node, recording, certificate_generation,
       certificate_serial, certificate_key_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
     returning started_at as "startedAt"`,
    [
      session.id,
      session.userId,
      session.user,
      session.keyFingerprint,
      session.targetId,
      session.target,
      session.targetGeneration,
      session.login,
      session.kind,
      session.via,
      session.command,
      session.source,
      session.clientIdent,
      session.node,
      session.recording,
      session.certificate?.generation ?? null,
      session.certificate?.serial ?? null,
      session.certificate?.keyId ?? null,
    ],
  )
  return startedAt
}

/** Changes nothing if its row says that the session was open before, or has ended. */
export function setOpened(id: SessionId): Act {
  return {
    text: `update session set opened_at = now()
       where id = $1 and opened_at is null and ended_at is null returning id`,
    values: [id],
  }
}

/** undefined when it has ended already, or is not there. */
export function setEnded(
  tx: WriteTx,
  id: SessionId,
  end: SessionEnd,
): Promise<SessionRow | undefined> {
  const { reason, exitStatus, exitSignal, bytes, time, recording, evidence } = end
  return tx.maybe(
    `update session s set
       ended_at = greatest(started_at, least(now(),
         coalesce($10::timestamptz, now() - $11::float8 * interval '1 ms'))),
       end_known = $12, reason = $2, exit_status = $3, exit_signal = $4, bytes = $5,
       recording = $6::bytea is not null or $15, recording_sha256 = $6, recording_bytes = $7,
       recording_events = $8, recording_complete = $9, recording_intact = $13,
       recording_sought = $14 and s.recording
     from tenant t
     where s.id = $1 and s.ended_at is null and t.tenant_id = s.tenant_id
     returning ${sessionColumns}`,
    [
      id,
      reason,
      exitStatus ?? null,
      exitSignal ?? null,
      bytes ?? null,
      ...digestValues(recording),
      time !== 'unknown' && 'at' in time ? time.at : null,
      time !== 'unknown' && 'agoMs' in time ? time.agoMs : 0,
      time !== 'unknown',
      evidence === undefined ? null : evidence === 'intact',
      end.isSought,
      end.isUnsealed,
    ],
  )
}

/** The late-found recording of an ended session. False if it is not sought, or has a digest. */
export async function setRecording(
  tx: WriteTx,
  id: SessionId,
  { recording, evidence, isUnsealed }: RecordingEnd,
): Promise<boolean> {
  const changed = await tx.run(
    `update session set recording = $2::bytea is not null or $7, recording_sha256 = $2,
       recording_bytes = $3, recording_events = $4, recording_complete = $5,
       recording_intact = $6, recording_sought = false
     where id = $1 and ended_at is not null and recording_sought and recording_sha256 is null`,
    [
      id,
      ...digestValues(recording),
      evidence === undefined ? null : evidence === 'intact',
      isUnsealed,
    ],
  )
  return changed > 0
}

function digestValues(recording: KeptDigest | undefined) {
  return [
    recording === undefined ? null : Buffer.from(recording.sha256, 'hex'),
    recording?.bytes ?? null,
    recording?.events ?? null,
    recording?.complete ?? null,
  ]
}

/** Across tenants. */
export function findSessionTenant(
  tx: ReadTx,
  id: SessionId,
): Promise<{ readonly tenant: TenantId } | undefined> {
  return tx.maybe('select tenant_id as tenant from session where id = $1', [id])
}
