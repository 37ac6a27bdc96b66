import type { ReadTx } from '../postgres/index.ts'
import type { SessionId } from '../recorder/index.ts'
import { type Credential, readCircumstances } from './circumstances.ts'
import { type Forward, forwardAttempt } from './forwarding.ts'
import { listUnmarked, type UnmarkedRow } from './kill-queries.ts'
import { type Asker, decide, type Rule, refuseStay, type TargetRequest } from './policy.ts'
import { targetOf } from './target.ts'
import type { Target } from './target-fields.ts'
import { listTargetsById } from './target-queries.ts'

/** Sessions, and forwards in other sessions, that are no longer allowed, each with why. */
export interface Baseless {
  readonly sessions: ReadonlyMap<SessionId, string>
  readonly forwards: ReadonlyMap<string, string>
}

/**
 * Decides again about sessions that are not marked to end, and about the open forwards of those
 * that may go on, each forward by its own kind and destination.
 */
export async function findBaseless(
  tx: ReadTx,
  ids: readonly SessionId[],
  open: readonly Forward[],
): Promise<Baseless> {
  const now = new Date()
  const sessions = new Map<SessionId, string>()
  const forwards = new Map<string, string>()
  const rows = await listUnmarked(tx, ids)
  if (rows.length === 0) return { sessions, forwards }
  const people = rows.map(credentialOf)
  const targetIds = [...new Set(rows.map(({ targetId }) => targetId))]
  const { askers, rules } = await readCircumstances(tx, people, targetIds)
  const targets = await listTargetsById(tx, targetIds)
  const targetsById = new Map(targets.map((target) => [target.id, targetOf(target)]))
  const openIn = Map.groupBy(open, ({ session }) => session)
  for (const [i, { id, targetId, targetGeneration, login, kind }] of rows.entries()) {
    const asker = askers[i]
    if (asker === undefined) throw new Error('a person of a session is missing')
    const target = targetsById.get(targetId)
    const isAsOpened = target === undefined || target.generation === targetGeneration
    const reason = isAsOpened ? whyNot(asker, target, rules, { login, kind }, now) : changed
    if (reason !== undefined) {
      sessions.set(id, reason)
      continue
    }
    for (const forward of openIn.get(id) ?? []) {
      const gone = whyNot(asker, target, rules, { login, ...forwardAttempt(forward) }, now)
      if (gone !== undefined) forwards.set(forward.id, gone)
    }
  }
  return { sessions, forwards }
}

function credentialOf(row: UnmarkedRow): Credential {
  const { userId: id, keyFingerprint, certificateGeneration: generation } = row
  const { certificateSerial: serial, certificateKeyId: keyId } = row
  if (generation === null || serial === null || keyId === null) return { id, keyFingerprint }
  return { id, keyFingerprint, certificate: { generation, serial, keyId } }
}

const changed = 'the address or the host key of the target was changed; connect again'

/** Why the session or forward may not go on, in words for its user; undefined: it may. */
function whyNot(
  asker: Asker,
  target: Target | undefined,
  rules: readonly Rule[],
  request: TargetRequest,
  now: Date,
): string | undefined {
  const gone = refuseStay(asker)
  if (gone === 'suspended') return `${asker.tenantSlug} was suspended`
  if (gone !== undefined || asker.user === undefined) {
    return 'your account, or the key you logged in with, was removed'
  }
  if (target === undefined) return 'the target was removed'
  const decision = decide(asker.user, target, rules, request, now)
  if (!('refused' in decision)) return undefined
  switch (decision.refused) {
    case 'no-destination':
      return 'your grants no longer allow this destination'
    case 'no-kind':
      return `your grants no longer allow ${request.kind} on this target`
    case 'no-grant':
    case 'no-login':
      return 'your access to this target ended'
  }
}
