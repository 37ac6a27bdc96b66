import type { AuditEvent } from '../audit/index.ts'
import { type Actor, actorKeys } from '../auth/index.ts'
import type { SessionId } from '../recorder/index.ts'
import { fingerprint } from '../ssh/index.ts'
import type { Authorization, Minted } from './authorization.ts'
import type { SessionEnd } from './session-queries.ts'
import type { SessionRow } from './session-row.ts'
import type { SessionStart } from './session-start.ts'

export function sessionStarted(
  session: SessionId,
  { authorization, grant }: Minted,
  { kind, via = 'direct', command, source, clientIdent, node, recording }: SessionStart,
): AuditEvent {
  const { id, user, target, login, keyFingerprint } = authorization
  return {
    type: 'session.start',
    public: {
      session,
      authorization: id,
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
      command: command?.toString('utf8'),
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

export function sessionEnded(
  row: SessionRow,
  { reason, exitStatus, exitSignal, bytes, recording }: SessionEnd,
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
      bytes: String(bytes),
      durationMs: String(durationMs),
      recording: recording !== undefined,
      recordingDigest: recording && `sha256:${recording.sha256}`,
      recordingBytes: recording && String(recording.bytes),
      recordingEvents: recording && String(recording.events),
    },
    private: {
      userName: row.user,
      targetName: row.target,
      login: row.login,
      exitSignal,
      reason: isWord ? undefined : reason,
    },
  }
}

export function sessionKilled(row: SessionRow, reason: string, actor: Actor): AuditEvent {
  return {
    type: 'session.kill',
    public: { session: row.id, user: row.userId, target: row.targetId, ...actorKeys(actor) },
    private: { userName: row.user, targetName: row.target, actorName: actor.name, reason },
  }
}
