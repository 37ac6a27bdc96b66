/**
 * All events, with the keys that each may have: one table, so that a name or an address cannot get
 * into a part that can never be erased.
 *
 * A private text that is not written exactly as it came has two more keys, the size and the SHA-256
 * of the original: `commandBytes` and `commandSha256` beside `command`. A list that is too long has
 * its length in `…Count`, and the digest of the whole list.
 *
 * `public` goes into the leaf and stays for ever: only opaque ids, enumerations, hashes and counts.
 * `private` has names, addresses and typed text: the leaf has a commitment to it.
 */
export const eventTypes = {
  'tenant.create': { public: ['tenant'], private: ['slug', 'name'] },
  'tenant.suspend': { public: ['tenant'], private: ['slug', 'name'] },
  'tenant.resume': { public: ['tenant'], private: ['slug', 'name'] },
  'user.add': { public: ['user', 'role'], private: ['name', 'email'] },
  'user.role': { public: ['user', 'role', 'roleBefore'], private: ['name'] },
  'user.remove': { public: ['user', 'role'], private: ['name', 'email'] },
  'key.add': {
    public: ['user', 'key', 'fingerprint', 'type', 'expiresAt'],
    private: ['name', 'comment'],
  },
  'key.update': {
    public: ['user', 'key', 'fingerprint', 'type', 'expiresAt'],
    private: ['name', 'comment'],
  },
  'key.remove': { public: ['user', 'key', 'fingerprint', 'type'], private: ['name', 'comment'] },
  'target.add': {
    public: ['target', 'hostKey', 'auth'],
    private: ['name', 'host', 'port', 'logins'],
  },
  'target.update': {
    public: ['target', 'hostKey', 'hostKeyBefore', 'auth', 'authBefore'],
    private: ['name', 'host', 'hostBefore', 'port', 'portBefore', 'logins', 'loginsBefore'],
  },
  'target.remove': {
    public: ['target', 'hostKey', 'auth'],
    private: ['name', 'host', 'port', 'logins'],
  },
  'grant.add': {
    public: ['grant', 'user', 'role', 'target', 'allow', 'until'],
    private: ['userName', 'targetName', 'logins', 'forwards'],
  },
  'grant.remove': {
    public: ['grant', 'user', 'role', 'target', 'allow', 'until'],
    private: ['userName', 'targetName', 'logins', 'forwards'],
  },
  'login.success': {
    public: ['user', 'method', 'fingerprint', 'algorithm', 'generation', 'serial', 'counter'],
    private: ['name'],
  },
  'login.failure': {
    public: ['method', 'fingerprint', 'algorithm', 'code', 'count'],
    private: [],
  },
  'session.start': {
    public: ['session', 'user', 'target', 'grant', 'kind', 'via', 'recording', 'fingerprint'],
    private: ['userName', 'targetName', 'login', 'host', 'port', 'command', 'clientIdent'],
  },
  'session.open': {
    public: ['session', 'user', 'target', 'hostKey'],
    private: ['targetName', 'login', 'host', 'port'],
  },
  'session.refused': {
    public: ['user', 'target', 'kind', 'denied', 'code', 'fingerprint'],
    private: ['userName', 'targetName', 'login', 'host', 'port', 'path'],
  },
  'session.end': {
    public: [
      'session',
      'user',
      'target',
      'kind',
      'ended',
      'exitStatus',
      'bytes',
      'durationMs',
      'recording',
      'recordingDigest',
      'recordingBytes',
      'recordingEvents',
      'recordingChain',
      'outputBytes',
      'errorOutputBytes',
    ],
    private: ['userName', 'targetName', 'login', 'exitSignal', 'outputSha256', 'errorOutputSha256'],
  },
  'file.operation': {
    public: [
      'session',
      'user',
      'target',
      'operation',
      'number',
      'state',
      'flags',
      'attributes',
      'count',
      'bytes',
      'atLeast',
      'status',
    ],
    private: ['path', 'to', 'extension', 'sha256', 'replyBytes', 'replySha256'],
  },
  'forward.open': {
    public: ['session', 'forward', 'user', 'target', 'kind'],
    private: ['userName', 'targetName', 'login', 'host', 'port', 'path'],
  },
  'forward.close': {
    public: ['session', 'forward', 'user', 'target', 'kind', 'ended', 'bytesIn', 'bytesOut'],
    private: [],
  },
  'session.kill': { public: ['session', 'user', 'target'], private: ['userName', 'targetName'] },
  'key.create': {
    public: ['secret', 'secretName', 'version', 'fingerprint', 'algorithm'],
    private: ['path'],
  },
  'key.use': {
    public: ['secret', 'secretName', 'version', 'lease', 'session', 'algorithm', 'purpose'],
    private: ['path', 'login'],
  },
  'record.tag': { public: ['count'], private: [] },
  'record.refused': { public: ['record', 'recordId'], private: [] },
  'ca.create': {
    public: ['certKind', 'generation', 'state', 'fingerprint'],
    private: [],
  },
  'ca.rotate': {
    public: ['certKind', 'generation', 'fingerprint', 'retired', 'next'],
    private: [],
  },
  'cert.issue': {
    public: [
      'certKind',
      'generation',
      'serial',
      'fingerprint',
      'validAfter',
      'validBefore',
      'purpose',
      'session',
      'user',
      'target',
    ],
    private: ['keyId', 'principals', 'login', 'userName', 'targetName', 'sourceAddress'],
  },
  'cert.revoke': {
    public: ['certKind', 'generation', 'serial', 'fingerprint'],
    private: ['keyId'],
  },
  'recording.recovered': {
    public: [
      'session',
      'recordingDigest',
      'recordingBytes',
      'recordingEvents',
      'recordingChain',
      'cutBytes',
      'tampered',
    ],
    private: [],
  },
  'recording.lost': { public: ['session', 'why', 'recordingBytes'], private: [] },
  'recording.open': { public: ['session', 'user', 'via'], private: ['userName'] },
  'web.link': { public: ['user', 'link', 'role', 'expiresAt'], private: ['name'] },
  'web.login': {
    public: ['user', 'link', 'webSession', 'role', 'expiresAt', 'proof', 'factor'],
    private: ['name', 'device'],
  },
  'web.logout': { public: ['user', 'webSession', 'role'], private: ['name'] },
  'job.retry': { public: ['job', 'jobKind'], private: [] },
  'job.cancel': { public: ['job', 'jobKind'], private: [] },
  'web.renew': { public: ['user', 'webSession', 'role'], private: ['name', 'device'] },
  'web.step-up': {
    public: ['user', 'webSession', 'role', 'purpose', 'proof', 'factor', 'expiresAt'],
    private: ['name', 'device'],
  },
  'web.refused': {
    public: ['user', 'webSession', 'link', 'proof', 'purpose', 'code', 'count'],
    private: ['device'],
  },
  'factor.add': {
    public: ['user', 'factor', 'factorKind', 'fingerprint'],
    private: ['name', 'factorName'],
  },
  'factor.remove': {
    public: ['user', 'factor', 'factorKind', 'fingerprint'],
    private: ['name', 'factorName'],
  },
  'vault.seal': { public: ['provider', 'kek'], private: [] },
  'vault.unseal': { public: ['provider', 'kek'], private: [] },
  'audit.inconsistent': {
    public: ['tenant', 'contradiction', 'origin', 'signedSize', 'signedRoot'],
    private: [],
  },
  'audit.forged': {
    public: ['tenant', 'origin', 'size', 'count', 'signedSize'],
    private: [],
  },
  'audit.lost': {
    public: ['tenant', 'origin', 'size', 'count', 'uncompared', 'firstEvent', 'firstIndex'],
    private: [],
  },
  'audit.repaired': {
    public: [
      'tenant',
      'removedCheckpoints',
      'repair',
      'sizeBefore',
      'size',
      'root',
      'formerOrigin',
      'formerSize',
      'formerLeaves',
      'signedSize',
      'signedRoot',
    ],
    private: [],
  },
} as const

/** Keys that every event may have: the actor, their fresh proof, the source and the reason. */
export const commonKeys = {
  public: ['actor', 'actorKind', 'stepUp', 'node'],
  private: ['actorName', 'source', 'reason'],
} as const

export type AuditEventType = keyof typeof eventTypes
type Keys<T extends AuditEventType, P extends 'public' | 'private'> =
  | (typeof eventTypes)[T][P][number]
  | (typeof commonKeys)[P][number]

/** A readable text, and the bytes that it represents. */
export interface ShownText {
  readonly shown: string
  readonly whole: Buffer
}

/** Numbers are written as decimal strings: JSON's are not exact. A value of undefined is left out. */
export type EventValue = string | boolean | readonly string[]
/** Bytes are written as their text in UTF-8. */
export type PrivateValue = EventValue | Buffer | ShownText
export type EventValues<Key extends string = string, Value = EventValue> = {
  readonly [K in Key]?: Value | undefined
}

/** An act, to be written to the log of its tenant. */
export type AuditEvent = {
  [T in AuditEventType]: {
    readonly type: T
    readonly public: EventValues<Keys<T, 'public'>>
    readonly private?: EventValues<Keys<T, 'private'>, PrivateValue> | undefined
  }
}[AuditEventType]

/** Whether the table has the key for events of the type. */
export function isAllowed(type: AuditEventType, part: 'public' | 'private', key: string): boolean {
  const keys: readonly string[] = [...eventTypes[type][part], ...commonKeys[part]]
  return keys.includes(key)
}
