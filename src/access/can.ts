import type { Role, UserId } from '../auth/index.ts'
import type { TenantId } from '../postgres/index.ts'

/** Everything that the pages and the API ask about. The name is the thing's kind and the verb. */
export type Act =
  | 'self.read'
  | 'self.change'
  | 'target.open'
  | 'session.read'
  | 'session.end'
  | 'recording.read'
  | 'member.read'
  | 'member.change'

/** A user of a tenant, with the role that they have now. */
export interface Member {
  readonly tenant: TenantId
  readonly user: { readonly id: UserId; readonly role: Role }
}

/** One thing of a tenant, and the user that it belongs to. */
export interface Thing {
  readonly tenant: TenantId
  readonly user: UserId
}

/** The part of a tenant's things that an act may touch: all, the member's own, or none. */
export type Reach = 'all' | 'own' | 'none'

const everythingButMembers = { owner: 'all', admin: 'all', auditor: 'all', member: 'own' } as const

const onlyOwn = { owner: 'own', admin: 'own', auditor: 'own', member: 'own' } as const

/** One row for each act: an act without a row does not compile. */
const reaches: { readonly [act in Act]: { readonly [role in Role]: Reach } } = {
  'self.read': onlyOwn,
  // One's passkeys, keys and web sessions. Nobody changes another person's.
  'self.change': onlyOwn,
  // A user's own targets are those that grants open to them.
  'target.open': onlyOwn,
  'session.read': everythingButMembers,
  // An auditor looks, and changes nothing; their own session is theirs to end.
  'session.end': { owner: 'all', admin: 'all', auditor: 'own', member: 'own' },
  'recording.read': everythingButMembers,
  'member.read': { owner: 'all', admin: 'all', auditor: 'all', member: 'none' },
  'member.change': { owner: 'all', admin: 'all', auditor: 'none', member: 'none' },
}

/**
 * Whether a person may do an act to a thing. Every page and every route of the API asks here. Another
 * tenant's thing is refused to every role.
 */
export function can(person: Member, act: Act, thing: Thing): boolean {
  if (person.tenant !== thing.tenant) return false
  const reach = reachOf(person, act)
  return reach === 'all' || (reach === 'own' && person.user.id === thing.user)
}

/** Every act. */
export const acts = Object.keys(reaches) as readonly Act[]

/** The same for a list: the things of the person's tenant for which can() says yes. */
export function reachOf({ user }: Member, act: Act): Reach {
  // A role that this table does not have reaches no session.
  const row: { readonly [role: string]: Reach | undefined } = reaches[act]
  return (Object.hasOwn(row, user.role) ? row[user.role] : undefined) ?? 'none'
}

/** How far each right of a person reaches. */
export function rightsOf(person: Member): { [act in Act]: Reach } {
  const rights = acts.map((act) => [act, reachOf(person, act)])
  return Object.fromEntries(rights) as { [act in Act]: Reach }
}
