import type { AuditEvent } from '../audit/index.ts'
import { type Actor, actorKeys } from '../auth/index.ts'
import type { WriteTx } from '../postgres/index.ts'
import { fingerprint } from '../ssh/index.ts'
import {
  checkHost,
  checkHostKeys,
  checkLogins,
  checkPort,
  type HostKey,
  type Target,
} from './target-fields.ts'
import { deleteHostKeys, insertHostKeys, setTarget } from './target-queries.ts'

/** The facts of a target that change; the others stay. */
export interface TargetChange {
  readonly host?: string
  readonly port?: number
  readonly logins?: readonly string[]
  readonly auth?: Target['auth']
  readonly hostKeys?: {
    readonly keys: readonly HostKey[]
    /** In the place of the keys on record; otherwise beside them. */
    readonly replace: boolean
  }
}

/** A target before and after a change; both are equal if nothing changed. */
export interface TargetUpdate {
  readonly before: Target
  readonly after: Target
}

/** Throws TargetInvalid with the reason. */
export function checkChange({ host, port, logins, auth, hostKeys }: TargetChange): TargetChange {
  return {
    ...(host !== undefined && { host: checkHost(host) }),
    ...(port !== undefined && { port: checkPort(port) }),
    ...(logins !== undefined && { logins: checkLogins(logins) }),
    ...(auth !== undefined && { auth }),
    ...(hostKeys && { hostKeys: { ...hostKeys, keys: checkHostKeys(hostKeys.keys) } }),
  }
}

/** The target after the change; undefined when the change has no effect. Its row must be locked. */
export async function applyChange(
  tx: WriteTx,
  before: Target,
  change: TargetChange,
): Promise<Target | undefined> {
  const after = { ...before, ...change, hostKeys: keysAfter(before, change) }
  const added = after.hostKeys.filter((key) => !isAmong(before.hostKeys, key))
  const removed = before.hostKeys.filter((key) => !isAmong(after.hostKeys, key))
  const isMoved = after.host !== before.host || after.port !== before.port
  const isAnother = isMoved || removed.length > 0
  const isOther =
    isAnother || after.auth !== before.auth || after.logins.join() !== before.logins.join()
  if (!isOther && added.length === 0) return undefined
  if (isOther) {
    const generation = before.generation + (isAnother ? 1 : 0)
    await setTarget(tx, before.id, { ...after, generation })
  }
  if (removed.length > 0) await deleteHostKeys(tx, before.id, removed)
  if (added.length > 0) await insertHostKeys(tx, before.id, added)
  return after
}

function keysAfter({ hostKeys: before }: Target, { hostKeys }: TargetChange): readonly HostKey[] {
  if (hostKeys === undefined) return before
  return hostKeys.replace ? hostKeys.keys : checkHostKeys([...before, ...hostKeys.keys])
}

function isAmong(keys: readonly HostKey[], { blob }: HostKey): boolean {
  return keys.some((key) => key.blob.equals(blob))
}

/** Old values stand beside the new ones, only where they differ. */
export function targetUpdated(before: Target, after: Target, actor: Actor): AuditEvent {
  const was = <Value>(value: (target: Target) => Value & (string | readonly string[])) => {
    const old = value(before)
    return String(old) === String(value(after)) ? undefined : old
  }
  const hostKey = ({ hostKeys }: Target) => hostKeys.map(({ blob }) => fingerprint(blob))
  const { id, name, auth, host, port, logins } = after
  return {
    type: 'target.update',
    public: {
      target: id,
      hostKey: hostKey(after),
      hostKeyBefore: was(hostKey),
      auth,
      authBefore: was((target) => target.auth),
      ...actorKeys(actor),
    },
    private: {
      name,
      host,
      hostBefore: was((target) => target.host),
      port: String(port),
      portBefore: was((target) => String(target.port)),
      logins,
      loginsBefore: was((target) => target.logins),
      actorName: actor.name,
    },
  }
}
