import type { Denial } from '../../access/index.ts'
import type { Auth, Identity } from '../../auth/index.ts'
import type { Headcount } from '../../headcount.ts'
import type { TenantId } from '../../postgres/index.ts'
import { type AuthAttempt, isBoundTo, parseUserauthRequest } from '../../ssh/index.ts'
import type { Tenants } from '../../tenant/index.ts'
import type { Turns } from '../../turns.ts'
import type { Client, ConnectionId } from '../wire/calls.ts'
import { type ConnectionState, type ConnectionTable, requireIdentity } from './connection-state.ts'
import { LoginsExhausted, RequestCrossed, RequestForged } from './errors.ts'
import { readJumpUsername } from './jump-username.ts'
import type { BastionMetrics } from './metrics.ts'
import type { Penalties } from './penalties.ts'
import { parseUsername, type Username } from './username.ts'

export interface LoginMonitorDeps {
  readonly tenants: Pick<Tenants, 'resolve'>
  readonly auth: Pick<Auth, 'authenticateSsh'>
  readonly metrics: Pick<BastionMetrics, 'authentications' | 'turnedAway'>
  readonly penalties: Pick<Penalties, 'loggedIn'>
  /** Hears of each accepted login. */
  readonly loggedIn?: (source: string, user: string) => void
  /** A login takes one turn. The other database connections are for users who are logged in. */
  readonly turns: Turns
  /** The time that a worker gives a connection to log in. */
  readonly loginGraceMs: number
  /** How often one connection may try to log in. */
  readonly authTriesMax: number
  /** The connections of each user on this node. */
  readonly connectionsOf: Headcount
}

/** A name that no tenant can have, so that a malformed user name costs the same look-up. */
const nobody = 'nobody-has-this-name'
/** How much longer than the worker a login may take here: it may wait for its turn and the database. */
const lateLoginMs = 120_000

/** Decides which user is on a connection of one worker: by a login, or by the connection that a jump goes through. */
export class LoginMonitor {
  readonly #deps: LoginMonitorDeps
  readonly #connections: ConnectionTable
  #count = 0
  #isClosed = false

  constructor(deps: LoginMonitorDeps, connections: ConnectionTable) {
    this.#deps = deps
    this.#connections = connections
  }

  /** How many logins were accepted. */
  get count(): number {
    return this.#count
  }

  /** Accepts no login from now on: the worker has ended. */
  close(): void {
    this.#isClosed = true
  }

  /**
   * Malformed and unknown names are handled like known ones, including a signature check and a key
   * look-up: neither the answer nor its timing shows the difference.
   */
  async login(id: ConnectionId, attempt: AuthAttempt): Promise<Client | undefined> {
    const state = this.#connections.require(id)
    if (++state.tries > this.#deps.authTriesMax) throw new LoginsExhausted()
    const answer = state.login.then(() => this.#login(state, attempt))
    state.login = answer.catch(() => {})
    return answer
  }

  async #login(state: ConnectionState, attempt: AuthAttempt): Promise<Client | undefined> {
    const { metrics, connectionsOf, penalties } = this.#deps
    if (state.identity !== undefined || state.outer !== undefined) {
      throw new RequestForged('a second login')
    }
    const named = parseUsername(attempt.user)
    const identity = await this.#authenticate(named, attempt, state.source)
    metrics.authentications.inc({ outcome: identity === undefined ? 'refused' : 'accepted' })
    if (named === undefined || identity === undefined) return undefined
    if (this.#isClosed) throw new RequestCrossed('a login')
    const { exchangeHash } = parseUserauthRequest(attempt.signedData)
    const { exchange } = attempt
    if (exchange === undefined || !isBoundTo(exchange, exchangeHash, state.cookie)) {
      throw new RequestForged('a login of another connection')
    }
    // A worker that was taken over could collect logins on connections that it keeps open.
    if (performance.now() - state.openedAtMs > this.#deps.loginGraceMs + lateLoginMs) {
      throw new RequestCrossed('the time to log in')
    }
    this.#count++
    state.identity = identity
    const { target, login } = named
    state.named = { ...(target !== undefined && { target }), ...(login !== undefined && { login }) }
    state.admitted.release()
    penalties.loggedIn(state.source)
    state.stopTimer()
    const user = identity.user.id
    this.#deps.loggedIn?.(state.source, user)
    state.isCounted = !state.isClosed && connectionsOf.enter(user)
    if (!state.isCounted) metrics.turnedAway.inc({ reason: 'user-limit' })
    return clientOf(identity, !state.isCounted)
  }

  /**
   * The user of the outer connection has logged in there; the inner user name only chooses the
   * login.
   */
  async enterJump(inner: ConnectionId, user: string): Promise<Client | Denial> {
    const state = this.#connections.require(inner)
    const { outer } = state
    if (outer === undefined || state.identity !== undefined) throw new RequestForged('a jump')
    const identity = requireIdentity(this.#connections.require(outer.id))
    const { tenant, tenantSlug: slug } = identity
    const idName = `tenant-${tenant.slice(0, 8)}`
    const named = readJumpUsername(user, { slug, idName, target: outer.target })
    if (named === undefined || (await this.#isAnotherTenant(user, tenant, state.source))) {
      return {
        denied: 'tenant',
        code: 'ERR_JUMP_USER',
        message: `the user name ${user} is not for ${outer.target} of ${slug}; leave it out, or give a login of the target`,
      }
    }
    if (state.identity !== undefined) throw new RequestForged('a second login')
    state.identity = identity
    state.named = { target: outer.target, ...named }
    state.stopTimer()
    return clientOf(identity, false)
  }

  async #isAnotherTenant(user: string, tenant: TenantId, source: string): Promise<boolean> {
    const named = parseUsername(user)
    if (named === undefined) return false
    using _turn = await this.#deps.turns.take({ tenant: named.tenant, user: source })
    const found = await this.#deps.tenants.resolve(named.tenant)
    return found !== undefined && found.id !== tenant
  }

  async #authenticate(named: Username | undefined, attempt: AuthAttempt, source: string) {
    const { tenants, auth, turns } = this.#deps
    const slug = named?.tenant ?? nobody
    using _turn = await turns.take({ tenant: slug, user: source })
    const tenant = await tenants.resolve(slug)
    // Awaited here: the turn is over when this is.
    return await auth.authenticateSsh({
      tenant: named === undefined ? undefined : tenant?.id,
      attempt,
      source,
    })
  }
}

function clientOf(
  { user, tenant, tenantSlug, certificate }: Identity,
  oneTooMany: boolean,
): Client {
  return {
    user: user.id,
    tenant,
    tenantSlug,
    oneTooMany,
    bounds: certificate && {
      permits: certificate.permits,
      ...(certificate.forceCommand !== undefined && { forceCommand: certificate.forceCommand }),
    },
  }
}
