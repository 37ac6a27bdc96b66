import { actAndAppendBy, appendEvent } from '../audit/index.ts'
import {
  type Database,
  type ReadTx,
  type TenantId,
  violation,
  type WriteTx,
} from '../postgres/index.ts'
import { type Actor, actorKeys, actorNames } from './actor.ts'
import { EmailInvalid, RoleSame, UserExists, UserMissing, UserNameInvalid } from './errors.ts'
import { type Role, rank, type UserId } from './identity.ts'
import { lockMembers } from './member-queries.ts'
import {
  deleteInvitations,
  deleteLinks,
  deleteUser,
  findUser,
  insertUser,
  listUsers,
  type UserRow,
} from './queries.ts'

export interface User {
  readonly id: UserId
  readonly name: string
  readonly role: Role
  readonly email: string | undefined
  /** RFC 3339, UTC. */
  readonly createdAt: string
}

export interface NewUser {
  readonly name: string
  readonly role?: Role
  readonly email?: string | undefined
}

export interface Users {
  /** Throws UserNameInvalid, EmailInvalid, UserExists. */
  addUser(tenant: TenantId, user: NewUser, actor: Actor): Promise<User>
  listUsers(tenant: TenantId): Promise<readonly User[]>
  /**
   * Gives the user another role. Their links that nobody used are void. Throws UserMissing, RoleSame.
   */
  setRole(tenant: TenantId, name: string, role: Role, actor: Actor): Promise<User>
  /** Removes the user with keys, grants and web sessions; the record of their acts stays. Throws UserMissing. */
  removeUser(tenant: TenantId, name: string, actor: Actor): Promise<User>
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,31}$/
const emailPattern = /^[^\s@]{1,64}@[^\s@]{1,189}$/

export function createUsers(database: Database): Users {
  return {
    addUser: (tenant, user, actor) => database.write(tenant, (tx) => addUserIn(tx, user, actor)),
    listUsers: async (tenant) => (await database.read(tenant, listUsers)).map(fromRow),
    setRole: (tenant, name, role, actor) =>
      database.write(
        tenant,
        async (tx) => {
          // An operator may take the role of the last owner, but not beside one who takes the other's.
          await lockMembers(tx)
          return setRoleIn(tx, await requireUser(tx, name), role, actor)
        },
        { retry: true },
      ),
    // A row that is deleted with the user may be in use at this moment: a link that is being
    // redeemed.
    removeUser: (tenant, name, actor) =>
      database.write(
        tenant,
        async (tx) => {
          // An operator may remove the last owner, but not beside one who removes the other.
          await lockMembers(tx)
          const user = await requireUser(tx, name)
          if (!(await removeUserIn(tx, user, actor))) throw new UserMissing(name)
          return user
        },
        { retry: true },
      ),
  }
}

/** Throws UserNameInvalid, EmailInvalid, UserExists. */
export async function addUserIn(
  tx: WriteTx,
  { name, role = 'member', email }: NewUser,
  actor: Actor,
): Promise<User> {
  if (!namePattern.test(name)) throw new UserNameInvalid(name)
  if (email !== undefined && !emailPattern.test(email)) throw new EmailInvalid(email)
  const row = await insertUser(tx, { name, role, email }).catch((err) => {
    throw violation(err)?.kind === 'unique' ? new UserExists(name) : err
  })
  const user = fromRow(row)
  await appendEvent(tx, {
    type: 'user.add',
    public: { user: user.id, role, ...actorKeys(actor) },
    private: { name, email, ...actorNames(actor) },
  })
  return user
}

/** Needs the members' lock. Throws RoleSame. */
export async function setRoleIn<Of extends Omit<User, 'createdAt'>>(
  tx: WriteTx,
  user: Of,
  role: Role,
  actor: Actor,
): Promise<Of> {
  if (user.role === role) throw new RoleSame(user.name, role)
  // Whoever made a link for this user could not give the role that they have now.
  await deleteLinks(tx, user.id)
  // Whoever had a higher role may have kept an invitation with it.
  if (rank[role] < rank[user.role]) await deleteInvitations(tx)
  await actAndAppendBy(
    tx,
    { name: 'user_role_change', subject: user.id },
    {
      type: 'user.role',
      public: { user: user.id, role, roleBefore: user.role, ...actorKeys(actor) },
      private: { name: user.name, ...actorNames(actor) },
    },
  )
  return { ...user, role }
}

/** False when it was removed meanwhile. */
export async function removeUserIn(
  tx: WriteTx,
  user: Omit<User, 'createdAt'>,
  actor: Actor,
): Promise<boolean> {
  if ((await deleteUser(tx, user.id)) === 0) return false
  // The removed person may have kept an invitation, and would come back as another user.
  if (rank[user.role] > rank.member) await deleteInvitations(tx)
  await appendEvent(tx, {
    type: 'user.remove',
    public: { user: user.id, role: user.role, ...actorKeys(actor) },
    private: { name: user.name, email: user.email, ...actorNames(actor) },
  })
  return true
}

/** Throws UserMissing. */
export async function requireUser(tx: ReadTx, name: string) {
  const row = await findUser(tx, name)
  if (row === undefined) throw new UserMissing(name)
  return fromRow(row)
}

function fromRow({ id, name, role, email, createdAt }: UserRow): User {
  return { id, name, role, email: email ?? undefined, createdAt: createdAt.toISOString() }
}
