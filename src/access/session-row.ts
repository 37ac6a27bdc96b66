import type { UserId } from '../auth/index.ts'
import type { TenantId } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import type { ChannelKind } from './channel-kind.ts'
import type { TargetId } from './ids.ts'

/** How a session came: straight, through `ssh -J`, or from a page. */
export type SessionVia = 'direct' | 'jump' | 'web'

export interface SessionRow {
  readonly id: SessionId
  readonly tenantId: TenantId
  readonly tenant: string
  readonly userId: UserId
  readonly user: string
  readonly keyFingerprint: string
  readonly targetId: TargetId
  readonly target: string
  /** Of the target, when the session was opened. */
  readonly targetGeneration: number
  readonly login: string
  readonly kind: ChannelKind
  readonly via: SessionVia
  /** In a list only its beginning. */
  readonly command: Buffer | null
  readonly commandBytes: number | null
  readonly source: string
  readonly clientIdent: string
  readonly node: string
  readonly startedAt: Date
  readonly endedAt: Date | null
  readonly reason: string | null
  readonly exitStatus: number | null
  readonly exitSignal: string | null
  /** Null: not known, as of a session that is live or was cut off. */
  readonly bytes: number | null
  /** False: endedAt is when the end was put on record. */
  readonly endKnown: boolean
  readonly recording: boolean
  /** The session has ended, and its recording was not found yet. */
  readonly recordingSought: boolean
  readonly recordingSha256: Buffer | null
  readonly recordingBytes: number | null
  /**
   * False: the recording does not match its witness. Null: there is no witness, or the session has
   * not ended.
   */
  readonly recordingIntact: boolean | null
  readonly killedAt: Date | null
  readonly killReason: string | null
  readonly certificateGeneration: number | null
  /** Decimal. */
  readonly certificateSerial: string | null
  readonly certificateKeyId: string | null
}

/** The columns of sessionTables that make a SessionRow. */
export const sessionColumns = columnsWith('s.command')
/** The same for lists: commands may be large, and a list is long. */
export const listedColumns = columnsWith('substring(s.command from 1 for 1024) as command')
export const sessionTables = 'session s join tenant t on t.tenant_id = s.tenant_id'

function columnsWith(command: string): string {
  return `s.id, s.tenant_id as "tenantId", t.slug as tenant, s.user_id as "userId",
  s.user_name as user, s.key_fingerprint as "keyFingerprint", s.target_id as "targetId",
  s.target_name as target, s.target_generation as "targetGeneration", s.login, s.kind, s.via, ${command},
  octet_length(s.command) as "commandBytes", s.source, s.client_ident as "clientIdent",
  s.node, s.started_at as "startedAt", s.ended_at as "endedAt", s.reason,
  s.exit_status as "exitStatus", s.exit_signal as "exitSignal", s.bytes, s.end_known as "endKnown", s.recording,
  s.recording_sought as "recordingSought", s.recording_sha256 as "recordingSha256", s.recording_bytes as "recordingBytes",
  s.recording_intact as "recordingIntact",
  s.killed_at as "killedAt", s.kill_reason as "killReason",
  s.certificate_generation as "certificateGeneration",
  s.certificate_serial::text as "certificateSerial", s.certificate_key_id as "certificateKeyId"`
}
