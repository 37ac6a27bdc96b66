import type { Database, WriteTx } from '../postgres/index.ts'
import type { Actor } from './actor.ts'
import { LastOwner, MemberActive, MemberMissing, RoleAbove } from './errors.ts'
import { type Role, rank, type UserId, type WebIdentity } from './identity.ts'
import {
  countOwners,
  findMember,
  hasArrived,
  listMembers,
  lockMembers,
  type MemberRow,
} from './member-queries.ts'
import { deleteLinks } from './queries.ts'
import { requireConfirmed } from './step-up.ts'
import { addUserIn, removeUserIn, setRoleIn } from './users.ts'
import { idleSeconds, type LoginLink, type WebLogin } from './web-login.ts'

/** A user of a tenant, as the people see who manage its users. Times are RFC 3339, UTC. */
export interface TenantMember {
  readonly id: UserId
  readonly name: string
  readonly role: Role
  readonly email: string | undefined
  readonly createdAt: string
  /** The last use of the pages, to the minute; undefined if no web session is left that tells. */
  readonly seenAt: string | undefined
  readonly passkeys: number
  readonly keys: number
  /** Nobody has come in as this user yet. */
  readonly isInvited: boolean
}

/** The users of a tenant in the hands of its own people. Every change is on the log. */
export interface Members {
  /** By name. */
  list(person: WebIdentity): Promise<readonly TenantMember[]>
  /**
   * Adds a user, and makes a link that signs in as that user once. Throws RoleAbove, UserExists,
   * UserNameInvalid, EmailInvalid.
   */
  invite(
    person: WebIdentity,
    user: { readonly name: string; readonly role: Role; readonly email?: string | undefined },
    actor: Actor,
  ): Promise<{ readonly member: TenantMember; readonly link: LoginLink }>
  /**
   * Another link in the place of all earlier ones. Throws MemberActive for a user who has come in before: such
   * a link would sign somebody else in as them. Throws MemberMissing, RoleAbove.
   */
  inviteAgain(person: WebIdentity, id: string, actor: Actor): Promise<LoginLink>
  /**
   * Gives the user another role; their links that nobody used are void. Throws MemberMissing, RoleSame,
   * RoleAbove where the role before or after is above the asker's, and LastOwner.
   */
  setRole(person: WebIdentity, id: string, role: Role, actor: Actor): Promise<TenantMember>
  /**
   * Removes the user; their sessions end. Throws MemberMissing, RoleAbove, and LastOwner for the last one of a
   * tenant.
   */
  remove(person: WebIdentity, id: string, actor: Actor): Promise<void>
}

/** How long somebody has to follow an invitation. */
const invitationSeconds = 7 * 24 * 3600

export function createMembers(database: Database, web: WebLogin): Members {
  /** Blocks other changes of the members until the transaction ends, and reads the asker's role again. */
  async function begin(tx: WriteTx, person: WebIdentity): Promise<void> {
    const { user } = person
    await lockMembers(tx)
    await requireConfirmed(tx, person, 'member.change')
    const now = await findMember(tx, user.id, idleSeconds)
    if (now === undefined || now.role !== user.role) throw new RoleAbove()
  }
  return {
    list: async ({ tenant }) =>
      (await database.read(tenant, (tx) => listMembers(tx, idleSeconds))).map(fromRow),
    async invite(person, wanted, actor) {
      requireRank(person, wanted.role)
      return database.write(
        person.tenant,
        async (tx) => {
          await begin(tx, person)
          const user = await addUserIn(tx, wanted, actor)
          const link = await web.makeLink(tx, person.tenant, user, actor, invitationSeconds)
          return { member: fromRow(await requireMember(tx, user.id)), link }
        },
        { retry: true },
      )
    },
    inviteAgain: (person, id, actor) =>
      database.write(
        person.tenant,
        async (tx) => {
          await begin(tx, person)
          const { id: user, role } = await requireMember(tx, id)
          requireRank(person, role)
          // One that is being used at this moment is waited for, and seen below.
          await deleteLinks(tx, user)
          const member = await requireMember(tx, id)
          if (hasArrived(member)) throw new MemberActive(member.name)
          return web.makeLink(tx, person.tenant, fromRow(member), actor, invitationSeconds)
        },
        { retry: true },
      ),
    setRole: (person, id, role, actor) =>
      database.write(
        person.tenant,
        async (tx) => {
          await begin(tx, person)
          const member = await requireMember(tx, id)
          requireRank(person, member.role)
          requireRank(person, role)
          if (role !== 'owner') await requireOtherOwner(tx, member)
          await setRoleIn(tx, fromRow(member), role, actor)
          return fromRow(await requireMember(tx, id))
        },
        // One of the user's links may be in use at this moment.
        { retry: true },
      ),
    remove: (person, id, actor) =>
      database.write(
        person.tenant,
        async (tx) => {
          await begin(tx, person)
          const member = await requireMember(tx, id)
          requireRank(person, member.role)
          await requireOtherOwner(tx, member)
          if (!(await removeUserIn(tx, fromRow(member), actor))) throw new MemberMissing()
        },
        // One of the user's links may be in use at this moment.
        { retry: true },
      ),
  }
}

function requireRank({ user }: WebIdentity, role: Role): void {
  if (rank[role] > rank[user.role]) throw new RoleAbove()
}

/** Throws LastOwner where the tenant would have none without this one. */
async function requireOtherOwner(tx: WriteTx, { role }: MemberRow): Promise<void> {
  if (role === 'owner' && (await countOwners(tx)) === 1) throw new LastOwner()
}

async function requireMember(tx: WriteTx, id: string): Promise<MemberRow> {
  const row = await findMember(tx, id, idleSeconds)
  if (row === undefined) throw new MemberMissing()
  return row
}

function fromRow(row: MemberRow): TenantMember {
  const { id, name, role, email, createdAt, seenAt, passkeys, keys } = row
  return {
    ...{ id, name, role, passkeys, keys },
    email: email ?? undefined,
    createdAt: createdAt.toISOString(),
    seenAt: seenAt?.toISOString(),
    isInvited: !hasArrived(row),
  }
}
