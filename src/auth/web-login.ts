import { createHash, randomBytes } from 'node:crypto'
import { actAndAppendBy, appendEvent } from '../audit/index.ts'
import {
  type Database,
  parseTenantId,
  raised,
  type TenantId,
  type WriteTx,
} from '../postgres/index.ts'
import { type Actor, actorKeys, actorNames } from './actor.ts'
import { WebSessionMissing } from './errors.ts'
import type { Person, SignInProof, Visitor, WebIdentity } from './identity.ts'
import { findMember, hasArrived } from './member-queries.ts'
import {
  deleteWebSession,
  findWebSession,
  insertLink,
  markArrived,
  nameWebSession,
  takeLink,
  touchWebSession,
} from './queries.ts'
import type { User } from './users.ts'
import { deleteOldWebSessions, findCookieHash, isWebSessionLive } from './web-session-queries.ts'

/** A link that signs in once. The token is the whole secret of it. */
export interface LoginLink {
  readonly token: string
  /** RFC 3339, UTC. */
  readonly expiresAt: string
}

/** Web sessions as the pages see them. Tokens and cookies are opaque to their holders. */
export interface WebLogins {
  /** Trades a link's token for the cookie of a new session; undefined when spent, old or unknown. */
  redeem(token: string, visitor?: Visitor): Promise<string | undefined>
  /** With a new cookie where the person's role is another one than at the last look: WebIdentity.renewed. */
  session(cookie: string, visitor?: Visitor): Promise<WebIdentity | undefined>
  /** Whether the web session goes on, whatever its cookie is by now. */
  lives(person: WebIdentity): Promise<boolean>
  end(cookie: string, visitor?: Visitor): Promise<void>
}

/** What a web session is opened with. */
interface Opening {
  readonly proof: SignInProof
  readonly link?: string
  readonly factor?: string
}

const linkSeconds = 10 * 60
const sessionSeconds = 7 * 24 * 3600
/** Of one user. The one that was used longest ago makes room. */
const sessionsMax = 100
/** The function web_session_renew of the migrations raises it. */
const notRenewed = 'VT014'
const unknownVisitor: Visitor = { source: '', device: '' }
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
    return this.#database.write(tenant, async (tx) =>
      this.makeLink(tx, tenant, await findUser(tx), actor, linkSeconds),
    )
  }

  /** The same in a transaction of the caller's, and for as long as it says. */
  async makeLink(
    tx: WriteTx,
    tenant: TenantId,
    user: Person,
    actor: Actor,
    seconds: number,
  ): Promise<LoginLink> {
    if (!this.#serves(tenant)) throw new Error('these pages are not for that tenant')
    const { token, hash } = newToken(tenant)
    const link = await insertLink(tx, user.id, hash, seconds)
    const expiresAt = link.expiresAt.toISOString()
    await appendEvent(tx, {
      type: 'web.link',
      public: { user: user.id, link: link.id, role: user.role, expiresAt, ...actorKeys(actor) },
      private: { name: user.name, ...actorNames(actor) },
    })
    return { token, expiresAt }
  }

  async redeem(token: string, visitor = unknownVisitor): Promise<string | undefined> {
    const held = this.#read(token)
    if (held === undefined) return undefined
    const redeem = async (tx: WriteTx) => {
      const user = await takeLink(tx, held.hash)
      if (user === undefined) return undefined
      if (user.isInvitation && (await this.#isTaken(tx, user, visitor))) return undefined
      return this.open(tx, held.tenant, user, { proof: 'link', link: user.link }, visitor)
    }
    // A removal of the user waits for the link, and this for the user: one of them tries again.
    return this.#database.write(held.tenant, redeem, { retry: true })
  }

  /** A new web session of a person who proved who they are. Answers its cookie. */
  async open(
    tx: WriteTx,
    tenant: TenantId,
    user: Person,
    opening: Opening,
    visitor: Visitor,
  ): Promise<string> {
    const cookie = newToken(tenant)
    const session = await nameWebSession(tx, sessionSeconds)
    await markArrived(tx, user.id)
    await this.#makeRoom(tx, user, visitor)
    const door = { name: 'web_session_open', subject: cookie.hash } as const
    await actAndAppendBy(tx, door, {
      type: 'web.login',
      public: {
        user: user.id,
        webSession: session.id,
        role: user.role,
        expiresAt: session.expiresAt.toISOString(),
        ...opening,
        actor: user.id,
        actorKind: 'user',
      },
      private: { name: user.name, ...visitor },
    })
    return cookie.token
  }

  /** Leaves a fresh proof in the person's web session. Answers its new cookie. Throws WebSessionMissing. */
  async stepUp(
    tx: WriteTx,
    { tenant, user, session }: WebIdentity,
    proof: {
      readonly proof: 'passkey'
      readonly factor: string
      readonly purpose: string
      readonly expiresAt: string
    },
    visitor: Visitor,
  ): Promise<string> {
    const before = await findCookieHash(tx, session)
    const cookie = newToken(tenant)
    const door = {
      name: 'web_session_renew',
      subject: Buffer.concat([before ?? Buffer.alloc(32), cookie.hash]),
    } as const
    await actAndAppendBy(tx, door, {
      type: 'web.step-up',
      public: {
        user: user.id,
        webSession: session,
        role: user.role,
        ...proof,
        actor: user.id,
        actorKind: 'user',
      },
      private: { name: user.name, ...visitor },
    }).catch(endedMeanwhile)
    return cookie.token
  }

  async session(cookie: string, visitor = unknownVisitor): Promise<WebIdentity | undefined> {
    const held = this.#read(cookie)
    if (held === undefined) return undefined
    const row = await this.#database.read(held.tenant, (tx) =>
      findWebSession(tx, held.hash, idleSeconds),
    )
    if (row === undefined) return undefined
    const { session, tenant, tenantSlug, stale, isChanged, ...user } = row
    if (stale) await this.#database.write(tenant, (tx) => touchWebSession(tx, session))
    const identity = { tenant, tenantSlug, user, session }
    return isChanged ? this.#renew(identity, held.hash, visitor) : identity
  }

  lives({ tenant, session, user }: WebIdentity): Promise<boolean> {
    return this.#database.read(tenant, (tx) => isWebSessionLive(tx, session, user.id, idleSeconds))
  }

  async end(cookie: string, { source } = unknownVisitor): Promise<void> {
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
        private: { name: ended.name, source },
      })
    })
  }

  /**
   * A person with another role goes on with another cookie, and without fresh proofs. Of requests that show
   * the old cookie at the same time, the first gets the new one, and the others are nobody's.
   */
  async #renew(
    identity: WebIdentity,
    before: Buffer,
    visitor: Visitor,
  ): Promise<WebIdentity | undefined> {
    const { tenant, user, session } = identity
    const cookie = newToken(tenant)
    const door = {
      name: 'web_session_renew',
      subject: Buffer.concat([before, cookie.hash]),
    } as const
    try {
      await this.#database.write(tenant, (tx) =>
        actAndAppendBy(tx, door, {
          type: 'web.renew',
          public: {
            user: user.id,
            webSession: session,
            role: user.role,
            actor: user.id,
            actorKind: 'user',
          },
          private: { name: user.name, ...visitor },
        }),
      )
    } catch (err) {
      if (raised(err) === notRenewed) return undefined
      throw err
    }
    return { ...identity, renewed: cookie.token }
  }

  /**
   * Whether somebody has come in as this user since an invitation was made. Its maker may have kept the link,
   * and would sign in as them. The link is spent, and that it was tried is on the log.
   */
  async #isTaken(
    tx: WriteTx,
    { id, link }: Person & { readonly link: string },
    { source, device }: Visitor,
  ): Promise<boolean> {
    const member = await findMember(tx, id, idleSeconds)
    if (member === undefined || !hasArrived(member)) return false
    await appendEvent(tx, {
      type: 'web.refused',
      public: { user: id, link, proof: 'link', code: 'ERR_LINK_SPENT', count: '1' },
      private: { source, device },
    })
    return true
  }

  async #makeRoom(tx: WriteTx, user: Person, { source }: Visitor): Promise<void> {
    const ended = await deleteOldWebSessions(tx, user.id, sessionsMax - 1)
    for (const { id } of ended) {
      await appendEvent(tx, {
        type: 'web.logout',
        public: {
          user: user.id,
          webSession: id,
          role: user.role,
          actor: user.id,
          actorKind: 'user',
        },
        private: { name: user.name, source, reason: 'too many web sessions' },
      })
    }
  }

  #read(token: string): { readonly tenant: TenantId; readonly hash: Buffer } | undefined {
    const parts = /^([0-9a-f-]{36})\.([\w-]{43})$/.exec(token)
    const tenant = parts?.[1] === undefined ? undefined : parseTenantId(parts[1])
    if (tenant === undefined || !this.#serves(tenant)) return undefined
    return { tenant, hash: hashOf(token) }
  }
}

/** The session ended, or got another cookie, between the look and the proof. */
function endedMeanwhile(err: unknown): never {
  if (raised(err) === notRenewed) throw new WebSessionMissing()
  throw err
}

function newToken(tenant: TenantId): { readonly token: string; readonly hash: Buffer } {
  const token = `${tenant}.${randomBytes(32).toString('base64url')}`
  return { token, hash: hashOf(token) }
}

/** The token has 256 random bits, so a plain hash of it cannot be reversed. */
function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
