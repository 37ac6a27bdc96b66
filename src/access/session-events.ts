import type { AuditEvent } from '../audit/index.ts'
import { type Actor, actorKeys, actorNames } from '../auth/index.ts'
import type { Mended, RecordingDigest, SessionId } from '../recorder/index.ts'
import { fingerprint } from '../ssh/index.ts'
import type { Authorization, Minted } from './authorization.ts'
import type { KilledRow } from './kill-queries.ts'
import type { SessionEnd } from './session-queries.ts'
import type { SessionRow } from './session-row.ts'
import type { SessionStart } from './session-start.ts'

export function sessionStarted(
  session: SessionId,
  { authorization, grant }: Minted,
  { kind, via, command, source, clientIdent, node, recording }: SessionStart,
): AuditEvent {
  const { user, target, login, keyFingerprint } = authorization
  return {
    type: 'session.start',
    public: {
      session,
      user: user.id,
      target: target.id,
      grant,
      kind,
      via,
      recording,
      fingerprint: keyFingerprint,
      node: /^[\x21-\x7e]{1,128}$/.test(node) ? node : undefined,
    },
    private: {
      userName: user.name,
      targetName: target.name,
      login,
      host: target.host,
      port: String(target.port),
      command,
      clientIdent,
      source,
    },
  }
}

export function sessionOpened(
  session: SessionId,
  { user, target, login }: Authorization,
): AuditEvent {
  return {
    type: 'session.open',
    public: {
      session,
      user: user.id,
      target: target.id,
      hostKey: target.hostKeys.map(({ blob }) => fingerprint(Buffer.from(blob))),
    },
    private: {
      targetName: target.name,
      login,
      host: target.host,
      port: String(target.port),
    },
  }
}

/**
 * `unknown` is used for unknown facts: a session that was cut off may have carried any number of
 * bytes.
 */
export function sessionEnded(
  row: SessionRow,
  { reason, exitStatus, exitSignal, bytes, recording }: SessionEnd,
  {
    streams,
    chain,
    isRead = true,
  }: {
    readonly streams?: RecordingDigest['streams'] | undefined
    readonly chain?: string | undefined
    /** Nobody knows yet whether there is a recording. */
    readonly isRead?: boolean
  } = {},
): AuditEvent {
  const durationMs = (row.endedAt ?? row.startedAt).getTime() - row.startedAt.getTime()
  const isWord = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/.test(reason)
  return {
    type: 'session.end',
    public: {
      session: row.id,
      user: row.userId,
      target: row.targetId,
      kind: row.kind,
      ended: isWord ? reason : 'other',
      exitStatus: exitStatus === undefined ? undefined : String(exitStatus),
      bytes: bytes === undefined ? 'unknown' : String(bytes),
      durationMs: row.endKnown ? String(durationMs) : 'unknown',
      recording: isRead ? recording !== undefined : undefined,
      recordingDigest: recording && `sha256:${recording.sha256}`,
      recordingBytes: recording && String(recording.bytes),
      recordingEvents: recording && String(recording.events),
      recordingChain: chain === undefined ? undefined : `sha256:${chain}`,
      outputBytes: streams && String(streams.output.bytes),
      errorOutputBytes: streams && String(streams.errorOutput.bytes),
    },
    private: {
      userName: row.user,
      targetName: row.target,
      login: row.login,
      exitSignal,
      reason: isWord ? undefined : reason,
      // Short output can be guessed from its digest: as private as a command.
      outputSha256: streams?.output.sha256,
      errorOutputSha256: streams?.errorOutput.sha256,
    },
  }
}

/** An interrupted recording was repaired, or was whole already. */
export function recordingRecovered(
  session: SessionId,
  mended: Mended,
  chain: string | undefined,
): AuditEvent {
  return {
    type: 'recording.recovered',
    public: {
      session,
      recordingDigest: `sha256:${mended.sha256}`,
      recordingBytes: String(mended.bytes),
      recordingEvents: String(mended.events),
      recordingChain: chain === undefined ? undefined : `sha256:${chain}`,
      cutBytes: String(mended.cutBytes),
      tampered: mended.evidence === undefined ? undefined : mended.evidence === 'altered',
    },
  }
}

/** An interrupted recording was not recovered, with the reason: it stays as it is. */
export function recordingLost(
  session: SessionId,
  why: 'missing' | 'not-a-file' | 'too-large' | 'too-slow' | 'unreadable',
  bytes: number | undefined,
): AuditEvent {
  return {
    type: 'recording.lost',
    public: { session, why, recordingBytes: bytes === undefined ? 'unknown' : String(bytes) },
  }
}

export function sessionKilled(row: KilledRow, reason: string, actor: Actor): AuditEvent {
  return {
    type: 'session.kill',
    public: { session: row.id, user: row.userId, target: row.targetId, ...actorKeys(actor) },
    private: { userName: row.user, targetName: row.target, ...actorNames(actor), reason },
  }
}
