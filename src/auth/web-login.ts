import { createHash, randomBytes } from 'node:crypto'
import { actAndAppendBy, appendEvent } from '../audit/index.ts'
import { type Database, parseTenantId, type TenantId, type WriteTx } from '../postgres/index.ts'
import { type Actor, actorKeys } from './actor.ts'
import type { WebIdentity } from './identity.ts'
import {
  deleteWebSession,
  findWebSession,
  insertLink,
  nameWebSession,
  takeLink,
  touchWebSession,
} from './queries.ts'
import type { User } from './users.ts'

/** A link that signs in once. The token is the whole secret of it. */
export interface LoginLink {
  readonly token: string
  /** RFC 3339, UTC. */
  readonly expiresAt: string
}

/** Web sessions as the pages see them. Tokens and cookies are opaque to their holders. */
export interface WebLogins {
  /** Trades a link's token for the cookie of a new session; undefined when spent, old or unknown. */
  redeem(token: string): Promise<string | undefined>
  session(cookie: string): Promise<WebIdentity | undefined>
  end(cookie: string): Promise<void>
}

const linkSeconds = 10 * 60
const sessionSeconds = 7 * 24 * 3600
/** A web session ends after this time without use. */
export const idleSeconds = 12 * 3600

/**
 * Sign-in to the pages of one kind. `serves` names their tenants: the portal refuses an administrator's
 * link, and the admin plane a tenant's.
 *
 * A token carries the id of its tenant, which puts the look-up under row security like every other;
 * the database has hashes only.
 */
export class WebLogin implements WebLogins {
  readonly #database: Database
  readonly #serves: (tenant: TenantId) => boolean

  constructor(database: Database, serves: (tenant: TenantId) => boolean) {
    this.#database = database
    this.#serves = serves
  }

  /** Makes a link for a user that the caller finds or makes in the same transaction. */
  createLink(
    tenant: TenantId,
    findUser: (tx: WriteTx) => Promise<User>,
    actor: Actor,
  ): Promise<LoginLink> {
    if (!this.#serves(tenant)) throw new Error('these pages are not for that tenant')
    return this.#database.write(tenant, async (tx) => {
      const user = await findUser(tx)
      const { token, hash } = newToken(tenant)
      const link = await insertLink(tx, user.id, hash, linkSeconds)
      const expiresAt = link.expiresAt.toISOString()
      await appendEvent(tx, {
        type: 'web.link',
        public: { user: user.id, link: link.id, role: user.role, expiresAt, ...actorKeys(actor) },
        private: { name: user.name, actorName: actor.name },
      })
      return { token, expiresAt }
    })
  }

  async redeem(token: string): Promise<string | undefined> {
    const held = this.#read(token)
    if (held === undefined) return undefined
    const redeem = async (tx: WriteTx) => {
      const user = await takeLink(tx, held.hash)
      if (user === undefined) return undefined
      const cookie = newToken(held.tenant)
      const session = await nameWebSession(tx, sessionSeconds)
      const door = { name: 'web_session_open', subject: cookie.hash } as const
      await actAndAppendBy(tx, door, {
        type: 'web.login',
        public: {
          user: user.id,
          link: user.link,
          webSession: session.id,
          role: user.role,
          expiresAt: session.expiresAt.toISOString(),
          actor: user.id,
          actorKind: 'user',
        },
        private: { name: user.name },
      })
      return cookie.token
    }
    // A removal of the user waits for the link, and this for the user: one of them tries again.
    return this.#database.write(held.tenant, redeem, { retry: true })
  }

  async session(cookie: string): Promise<WebIdentity | undefined> {
    const held = this.#read(cookie)
    if (held === undefined) return undefined
    const row = await this.#database.read(held.tenant, (tx) =>
      findWebSession(tx, held.hash, idleSeconds),
    )
    if (row === undefined) return undefined
    const { session, tenant, tenantSlug, stale, ...user } = row
    if (stale) await this.#database.write(tenant, (tx) => touchWebSession(tx, session))
    return { tenant, tenantSlug, user, session }
  }

  async end(cookie: string): Promise<void> {
    const held = this.#read(cookie)
    if (held === undefined) return
    await this.#database.write(held.tenant, async (tx) => {
      const ended = await deleteWebSession(tx, held.hash)
      if (ended === undefined) return
      await appendEvent(tx, {
        type: 'web.logout',
        public: {
          user: ended.id,
          webSession: ended.session,
          role: ended.role,
          actor: ended.id,
          actorKind: 'user',
        },
        private: { name: ended.name },
      })
    })
  }

  #read(token: string): { readonly tenant: TenantId; readonly hash: Buffer } | undefined {
    const parts = /^([0-9a-f-]{36})\.([\w-]{43})$/.exec(token)
    const tenant = parts?.[1] === undefined ? undefined : parseTenantId(parts[1])
    if (tenant === undefined || !this.#serves(tenant)) return undefined
    return { tenant, hash: hashOf(token) }
  }
}

function newToken(tenant: TenantId): { readonly token: string; readonly hash: Buffer } {
  const token = `${tenant}.${randomBytes(32).toString('base64url')}`
  return { token, hash: hashOf(token) }
}

/** The token has 256 random bits, so a plain hash of it cannot be reversed. */
function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
