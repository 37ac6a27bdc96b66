import type { Person, Role, UserId } from '../auth/index.ts'
import type { ChannelKind } from './channel-kind.ts'
import { type ForwardDestination, matchesForward } from './forward-pattern.ts'
import type { TargetId } from './ids.ts'

/** The asking user, in the current state of the database. */
export interface Asker {
  readonly tenantSlug: string
  readonly user: Person | undefined
  /** The key that they came with; undefined when it is no longer registered for that user. */
  readonly key: { readonly expiresAt: Date | undefined } | undefined
  readonly suspended: boolean
}

/** The part of a grant that a decision depends on. */
export interface Rule {
  readonly id: string
  readonly userId: UserId | null
  readonly role: Role | null
  /** null: every target. */
  readonly targetId: TargetId | null
  /** None: all of the target's. */
  readonly logins: readonly string[]
  readonly allow: readonly ChannelKind[]
  /** Allowed destinations of forwards. None: all. */
  readonly forwards: readonly string[]
  readonly until: Date | null
}

/** One channel that a user asks for on a target. */
export interface TargetRequest {
  readonly login: string | undefined
  readonly preferredLogin?: string | undefined
  readonly kind: ChannelKind
  /** The destination of a forward, once it is known. */
  readonly destination?: ForwardDestination | undefined
}

/** A yes, with the grant that gives it. */
export interface Allowed {
  readonly login: string
  readonly allow: readonly ChannelKind[]
  readonly grant: string
}

/** The reason why a user may not open any target. */
export type PersonRefusal = 'suspended' | 'no-user' | 'no-key' | 'key-expired'

/** Why a person may not open a target. Logins, where listed, are the ones that they may use. */
export type TargetRefusal =
  | { readonly refused: 'no-grant' }
  | { readonly refused: 'no-kind' }
  | { readonly refused: 'no-destination' }
  | { readonly refused: 'no-login'; readonly logins: readonly string[] }

/** Whether the user may open any target. */
export function refusePerson(asker: Asker, now: Date): PersonRefusal | undefined {
  const gone = refuseStay(asker)
  if (gone !== undefined) return gone
  const expiresAt = asker.key?.expiresAt
  return expiresAt !== undefined && expiresAt <= now ? 'key-expired' : undefined
}

/**
 * Whether running sessions of a user must end. A key that has only expired opens no new session,
 * but does not end running ones.
 */
export function refuseStay({ suspended, user, key }: Asker): PersonRefusal | undefined {
  if (suspended) return 'suspended'
  if (user === undefined) return 'no-user'
  return key === undefined ? 'no-key' : undefined
}

/** Whether a rule gives this user something on this target now; null: on every target. */
export function covers(
  rule: Rule,
  user: { readonly id: UserId; readonly role: Role },
  target: TargetId | null,
  now: Date,
): boolean {
  if (rule.userId === null ? rule.role !== user.role : rule.userId !== user.id) return false
  if (rule.targetId !== null && rule.targetId !== target) return false
  return rule.until === null || rule.until > now
}

/**
 * Decides about one target. A login and a kind must come from the same grant: two grants that each
 * give half of the request do not allow it.
 */
export function decide(
  user: { readonly id: UserId; readonly role: Role },
  target: { readonly id: TargetId; readonly logins: readonly string[] },
  rules: readonly Rule[],
  { login: requested, preferredLogin, kind, destination }: TargetRequest,
  now: Date,
): Allowed | TargetRefusal {
  const covering = rules.filter((rule) => covers(rule, user, target.id, now))
  if (covering.length === 0) return { refused: 'no-grant' }
  const anywhere = covering.filter((rule) => rule.allow.includes(kind))
  if (anywhere.length === 0) return { refused: 'no-kind' }
  const ofKind = anywhere.filter((rule) => leadsTo(rule, destination))
  if (ofKind.length === 0) return { refused: 'no-destination' }
  const logins = target.logins.filter((login) => ofKind.some((rule) => gives(rule, login)))
  const preferred = logins.find((login) => login === preferredLogin)
  const login = requested ?? preferred ?? logins[0]
  if (login === undefined || !logins.includes(login)) return { refused: 'no-login', logins }
  const [grant] = ofKind.filter((rule) => gives(rule, login))
  if (grant === undefined) return { refused: 'no-login', logins }
  const allow = covering.filter((rule) => gives(rule, login)).flatMap((rule) => rule.allow)
  return { login, allow: [...new Set(allow)], grant: grant.id }
}

function leadsTo({ forwards }: Rule, destination: ForwardDestination | undefined): boolean {
  if (destination === undefined || forwards.length === 0) return true
  return forwards.some((pattern) => matchesForward(pattern, destination))
}

function gives(rule: Rule, login: string): boolean {
  return rule.logins.length === 0 || rule.logins.includes(login)
}
