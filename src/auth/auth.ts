import { appendEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import {
  type Database,
  systemTenant,
  type TenantId,
  violation,
  type WriteTx,
} from '../postgres/index.ts'
import { type Actor, actorKeys } from './actor.ts'
import { AdministratorMissing, UserMissing, UserNameInvalid } from './errors.ts'
import type { Identity, UserId, WebIdentity } from './identity.ts'
import { createKeys, type Keys, type KeyVault } from './keys.ts'
import { createMembers, type Members } from './members.ts'
import { authMetrics } from './metrics.ts'
import { createOwnKeys, type OwnKeys } from './own-keys.ts'
import { PasskeyLogin, type PasskeyLogins } from './passkey-login.ts'
import { createOwnPasskeys, forgetPasskeys, type OwnPasskeys } from './passkeys.ts'
import { findUser, insertUser, listWithSessions, type UserWithSessions } from './queries.ts'
import {
  type KeyCertificates,
  type LoginCertificates,
  type SshLogin,
  SshLogins,
} from './ssh-login.ts'
import { findStepUp } from './step-up.ts'
import { createUsers, removeUserIn, requireUser, type Users } from './users.ts'
import { idleSeconds, type LoginLink, WebLogin, type WebLogins } from './web-login.ts'
import { createOwnWebSessions, type OwnWebSessions } from './web-sessions.ts'

/** The users of each tenant, and their logins. */
export interface Auth extends Users, Keys {
  /**
   * The user of a signed login request; undefined if it is refused. On the log in both cases.
   * Throws VaultSealed.
   */
  authenticateSsh(login: SshLogin): Promise<Identity | undefined>
  /** A link that signs a user in to the portal, once. Throws UserMissing. */
  createLoginLink(tenant: TenantId, user: string, actor: Actor): Promise<LoginLink>
  readonly web: WebPeople
  /** Of people on the pages. */
  readonly ownKeys: OwnKeys
  readonly members: Members
  /**
   * For somebody who lost their passkeys: removes all of them, and ends all web sessions. Answers how many.
   * Throws UserMissing.
   */
  forgetPasskeys(tenant: TenantId, user: string, actor: Actor): Promise<number>
}

/** The people of a listener's pages. */
export interface WebPeople extends WebLogins {
  readonly sessions: OwnWebSessions
  readonly passkeys: OwnPasskeys
  readonly passkeyLogin: PasskeyLogins
  /** How the person proved, freshly and for this purpose, that it is them: see findStepUp. */
  stepUp(person: WebIdentity, purpose: string): Promise<string | undefined>
}

/** An account of the admin plane. */
export interface Administrator {
  readonly id: UserId
  readonly name: string
  /** RFC 3339, UTC. */
  readonly createdAt: string
  /** Browsers that are signed in now. */
  readonly sessions: number
}

/** The administrators of the platform, who belong to no tenant. */
export interface AdminAuth extends WebPeople {
  /**
   * Makes the administrator on first use: everybody who can run commands here has that power
   * already.
   */
  createLoginLink(name: string, actor?: Actor): Promise<LoginLink>
  /** As Auth.forgetPasskeys. Throws AdministratorMissing. */
  forgetPasskeysOf(name: string, actor: Actor): Promise<number>
  /** By name. */
  listAdministrators(): Promise<readonly Administrator[]>
  /** With links and web sessions, which end at once. On the log. Throws AdministratorMissing. */
  removeAdministrator(name: string, actor: Actor): Promise<Administrator>
}

interface AuthDeps extends AdminAuthDeps {
  readonly certificates: LoginCertificates & KeyCertificates
}

interface AdminAuthDeps {
  /** In the application's role. */
  readonly database: Database
  readonly vault: KeyVault
  readonly log: Log
  readonly metrics: Metrics
}

export function createAuth({ database, vault, certificates, log, metrics }: AuthDeps): Auth {
  const logins = new SshLogins(database, vault, certificates, log.child({ module: 'auth' }))
  const web = new WebLogin(database, isCustomer)
  const { attempts } = authMetrics(metrics)
  const keys = createKeys(database, vault, certificates)
  return {
    ...createUsers(database),
    ...keys,
    ownKeys: createOwnKeys(database, vault, keys, certificates),
    members: createMembers(database, web),
    async authenticateSsh(login) {
      const identity = await logins.authenticate(login)
      attempts.inc({
        method: 'publickey',
        outcome: identity === undefined ? 'refused' : 'accepted',
      })
      return identity
    },
    async createLoginLink(tenant, user, actor) {
      try {
        return await web.createLink(tenant, (tx) => requireUser(tx, user), actor)
      } catch (err) {
        // Removed between the look and the insert.
        if (violation(err)?.kind === 'foreign-key') throw new UserMissing(user)
        throw err
      }
    },
    web: webPeople(database, vault, web, { name: 'portal', serves: isCustomer }),
    forgetPasskeys: (tenant, user, actor) =>
      database.write(tenant, async (tx) => forgetPasskeys(tx, await requireUser(tx, user), actor), {
        retry: true,
      }),
  }
}

const isCustomer = (tenant: TenantId) => tenant !== systemTenant
const isPlatform = (tenant: TenantId) => tenant === systemTenant

function webPeople(
  database: Database,
  vault: KeyVault,
  web: WebLogin,
  plane: { readonly name: 'portal' | 'admin'; serves(tenant: TenantId): boolean },
): WebPeople {
  return {
    redeem: (token, visitor) => web.redeem(token, visitor),
    lives: (person) => web.lives(person),
    session: (cookie, visitor) => web.session(cookie, visitor),
    end: (cookie, visitor) => web.end(cookie, visitor),
    sessions: createOwnWebSessions(database),
    passkeys: createOwnPasskeys(database, vault),
    passkeyLogin: new PasskeyLogin(database, vault, web, plane),
    stepUp: (person, purpose) => findStepUp(database, person, purpose),
  }
}

async function addAdmin(tx: WriteTx, name: string, actor: Actor): Promise<void> {
  const { id, role } = await insertUser(tx, { name, role: 'owner', email: undefined })
  await appendEvent(tx, {
    type: 'user.add',
    public: { user: id, role, ...actorKeys(actor) },
    private: { name, actorName: actor.name },
  })
}

const operator: Actor = { kind: 'operator', id: 'cli', name: 'operator' }
const adminName = /^[a-z0-9][a-z0-9-]{0,31}$/

export function createAdminAuth({ database, vault }: AdminAuthDeps): AdminAuth {
  const web = new WebLogin(database, isPlatform)
  return {
    ...webPeople(database, vault, web, { name: 'admin', serves: isPlatform }),
    async createLoginLink(name, actor = operator) {
      if (!adminName.test(name)) throw new UserNameInvalid(name)
      const create = () =>
        web.createLink(
          systemTenant,
          async (tx) => {
            if ((await findUser(tx, name)) === undefined) await addAdmin(tx, name, actor)
            return requireUser(tx, name)
          },
          actor,
        )
      try {
        return await create()
      } catch (err) {
        // At the same moment, another process added or removed the same administrator.
        const kind = violation(err)?.kind
        if (kind === 'unique' || kind === 'foreign-key') return create()
        throw err
      }
    },
    forgetPasskeysOf: (name, actor) =>
      database.write(
        systemTenant,
        async (tx) => {
          const user = await findUser(tx, name)
          if (user === undefined) throw new AdministratorMissing(name)
          return forgetPasskeys(tx, user, actor)
        },
        { retry: true },
      ),
    async listAdministrators() {
      const rows = await database.read(systemTenant, (tx) => listWithSessions(tx, idleSeconds))
      return rows.map(administratorOf)
    },
    removeAdministrator: (name, actor) =>
      database.write(
        systemTenant,
        async (tx) => {
          const rows = await listWithSessions(tx, idleSeconds)
          const row = rows.find((one) => one.name === name)
          if (row === undefined || !(await removeUserIn(tx, { ...row, email: undefined }, actor)))
            throw new AdministratorMissing(name)
          return administratorOf(row)
        },
        // One of the administrator's links may be in use at this moment.
        { retry: true },
      ),
  }
}

function administratorOf({ id, name, createdAt, sessions }: UserWithSessions): Administrator {
  return { id, name, createdAt: createdAt.toISOString(), sessions }
}
