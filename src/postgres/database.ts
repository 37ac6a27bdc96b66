import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { CodedError, errorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Secret } from '../secret.ts'
import { Turns } from '../turns.ts'
import {
  DatabaseRoleWrong,
  DatabaseUnavailable,
  fullText,
  isDiskFull,
  isRetryable,
} from './errors.ts'
import type { InstanceId } from './instance-id.ts'
import { Listener, type Listening, type OnPayload } from './listener.ts'
import { type DatabaseMetrics, databaseMetrics } from './metrics.ts'
import {
  answerMs,
  connectionConfig,
  connectReason,
  defaultLimits,
  openPool,
  type PoolLimits,
} from './pool.ts'
import { triggersOffText } from './session-settings.ts'
import { isTenantId, type TenantId } from './tenant-id.ts'
import { type Begin, type ReadTx, Transaction, type WriteTx } from './transaction.ts'

export type { Listening } from './listener.ts'
export type { PoolLimits } from './pool.ts'

export interface Database {
  /**
   * Runs work in a read-only transaction that sees one tenant's rows. Each statement sees the state
   * at its own start; with snapshot, all of them see the state at the start of the first.
   */
  read<T>(
    tenant: TenantId,
    work: (tx: ReadTx) => Promise<T>,
    options?: { readonly snapshot?: boolean },
  ): Promise<T>
  /**
   * Runs work in a transaction of one tenant. Its effects are durable once this returns, and none
   * remain when it throws. (With DatabaseUnavailable from the commit itself: unknown.)
   *
   * With retry, work that lost a deadlock or a serialization race is run again, at most three times
   * in all: then it must do nothing except through tx.
   */
  write<T>(
    tenant: TenantId,
    work: (tx: WriteTx) => Promise<T>,
    options?: { readonly retry?: boolean },
  ): Promise<T>
  /**
   * Runs work with no tenant, in a role that sees rows of all tenants: vaultterm_system for
   * vaultterm_app; for vaultterm_bastion only vaultterm_directory, which can only find tenants. Few
   * callers should need it.
   */
  system<T>(work: (tx: WriteTx) => Promise<T>): Promise<T>
  /** Resolves when the database answers a question like those of an act, and can be written. */
  ping(): Promise<void>
  /**
   * Calls back for each notification on a channel. A payload of undefined means that some may have
   * been missed while the connection was lost: read the tables. Rejects when the first connection
   * fails; later it reconnects by itself until closed.
   */
  listen(channel: string, onPayload: OnPayload): Promise<Listening>
  /** Calls back for each fact of a tenant's transaction (WriteTx.tell), after the commit and before write() returns. */
  observe(observer: CommitObserver): void
  /** Waits for running transactions, then closes every connection. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export type CommitObserver = (tenant: TenantId, fact: object) => void

/** Which role looks across tenants for each role that serves. */
const acrossTenants = {
  vaultterm_app: 'vaultterm_system',
  vaultterm_bastion: 'vaultterm_directory',
} as const

type Role = keyof typeof acrossTenants
type Kind = 'read' | 'write' | 'system'

const attemptsMax = 3
/** How long a database is not ready after it had no room for a write: others may have found some in their pages. */
const fullMs = 10_000

/** How long a connection counts as alive after an answer. */
const aliveMs = 200

/** Opens a pool in one role. It connects when first used: ping() says whether it can. */
export function openDatabase(options: {
  readonly url: Secret<string>
  readonly role: Role
  readonly log: Log
  readonly metrics: Metrics
  readonly poolMax?: number
  readonly limits?: Partial<PoolLimits>
  /**
   * For a process that serves: its writes belong to that instance, and are refused after it has
   * lost its lease.
   */
  readonly instance?: InstanceId
}): Database {
  return new PooledDatabase(options)
}

class PooledDatabase implements Database {
  /** When it last had no room for a write. */
  #fullAtMs = -Infinity
  readonly #pool: pg.Pool
  readonly #role: Role
  readonly #limits: PoolLimits
  readonly #listener: Listener
  readonly #metrics: DatabaseMetrics
  /** Transactions of a tenant that wait for its log leave connections for other tenants. */
  readonly #turns: Turns
  readonly #heardAtMs = new WeakMap<pg.PoolClient, number>()
  readonly #observers: CommitObserver[] = []

  constructor({
    url,
    role,
    log,
    metrics,
    poolMax,
    limits,
    instance,
  }: Parameters<typeof openDatabase>[0]) {
    const scoped = log.child({ module: 'postgres', role })
    this.#role = role
    this.#limits = {
      ...defaultLimits,
      ...(poolMax === undefined ? {} : { connectionsMax: poolMax }),
      ...limits,
    }
    this.#metrics = databaseMetrics(metrics)
    this.#turns = new Turns(this.#limits.connectionsMax)
    this.#pool = openPool(url, role, acrossTenants[role], this.#limits, instance)
    // An idle connection that the server ends is replaced when it is next needed. The pool does not wait for
    // the ends of its connections, so a server that stops right after the close may end them first.
    this.#pool.on('error', (err) => {
      if (!this.#pool.ending) scoped.warn({ err: connectReason(err) }, 'idle connection lost')
    })
    this.#listener = new Listener(connectionConfig(url, this.#limits), scoped)
  }

  async read<T>(
    tenant: TenantId,
    work: (tx: ReadTx) => Promise<T>,
    { snapshot = false }: { readonly snapshot?: boolean } = {},
  ): Promise<T> {
    const isolation = snapshot ? 'isolation level repeatable read ' : ''
    const begin: Begin[] = [[`begin ${isolation}read only`], settingOf(tenant)]
    return this.#transact('read', begin, work, tenant)
  }

  async write<T>(
    tenant: TenantId,
    work: (tx: WriteTx) => Promise<T>,
    { retry = false }: { readonly retry?: boolean } = {},
  ): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#transact('write', [['begin'], settingOf(tenant)], work, tenant)
      } catch (err) {
        if (!retry || attempt === attemptsMax || !isRetryable(err)) throw err
        await sleep(Math.random() * 20 * attempt)
      }
    }
  }

  system<T>(work: (tx: WriteTx) => Promise<T>): Promise<T> {
    const role = `set local role ${acrossTenants[this.#role]}`
    return this.#transact('system', [['begin'], noTenant, [role]], work)
  }

  async ping(): Promise<void> {
    const state = await this.#look().catch((err: unknown) => {
      if (err instanceof CodedError) throw err
      const code = errorCode(err) ?? 'no code'
      throw new DatabaseUnavailable(`it refuses a statement of every act (${code})`, err)
    })
    if (state.standby || state.readOnly) throw new DatabaseUnavailable('it is read-only')
    // It answers questions all the same.
    if (performance.now() - this.#fullAtMs < fullMs) throw new DatabaseUnavailable(fullText)
    // A server that reads its settings anew changes those of open connections, too.
    if (state.triggers !== 'origin') throw new DatabaseRoleWrong(this.#role, triggersOffText)
  }

  listen(channel: string, onPayload: OnPayload): Promise<Listening> {
    return this.#listener.listen(channel, onPayload)
  }

  observe(observer: CommitObserver): void {
    this.#observers.push(observer)
  }

  async close(): Promise<void> {
    await this.#listener.close()
    if (!this.#pool.ending) await this.#pool.end()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #look() {
    const role = `set local role ${acrossTenants[this.#role]}`
    return this.#transact('read', [['begin read only'], noTenant, [role]], (tx) =>
      // The table is named as everywhere: a server may answer and know no table of ours.
      tx.one<{ standby: boolean; readOnly: boolean; triggers: string }>(
        `select pg_is_in_recovery() as standby,
           current_setting('session_replication_role') as triggers,
           current_setting('default_transaction_read_only')::boolean as "readOnly",
           exists (select from tenant) as tenants`,
      ),
    )
  }

  async #transact<T>(
    kind: Kind,
    begin: readonly Begin[],
    work: (tx: WriteTx) => Promise<T>,
    tenant?: TenantId,
  ): Promise<T> {
    using _turn = await this.#takeTurn(tenant ?? '')
    const client = await this.#connect()
    // The pool listens only to idle connections, and an error without a listener ends the process.
    // Here the running statement, or the next one, fails with it.
    client.on('error', ignore)
    const stop = this.#metrics.transactionSeconds.startTimer({ role: this.#role, kind })
    const tx = new Transaction(client, kind !== 'read', answerMs(this.#limits))
    let clean = false
    try {
      tx.begin(begin)
      // A server that stands still must be noticed within the time a login may wait; a server that
      // has just answered is not asked again.
      const silentMs = performance.now() - (this.#heardAtMs.get(client) ?? -Infinity)
      if (silentMs > aliveMs) await tx.started(this.#limits.waitMs)
      const result = await work(tx.tx)
      await tx.commit()
      clean = true
      if (tenant !== undefined) {
        for (const fact of tx.facts) for (const observer of this.#observers) observer(tenant, fact)
      }
      return result
    } catch (err) {
      clean = await tx.rollback()
      if (isDiskFull(err)) this.#fullAtMs = performance.now()
      throw err
    } finally {
      if (clean && tx.heard) this.#heardAtMs.set(client, performance.now())
      // A connection in an unknown state is destroyed, never shared.
      client.release(!clean)
      client.off('error', ignore)
      stop()
      this.#measure()
    }
  }

  /** A tenant waits in a line of its own: neither its length nor its time is another tenant's. */
  async #takeTurn(tenant: string): Promise<Disposable> {
    const owner = { tenant, user: '' }
    if (this.#turns.waitingOf(owner) >= this.#limits.waitingMax) {
      throw new DatabaseUnavailable('too many transactions wait for a connection')
    }
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(), this.#limits.waitMs)
    try {
      return await this.#turns.take(owner, late.signal)
    } catch (err) {
      throw new DatabaseUnavailable('no connection became free in time', err)
    } finally {
      clearTimeout(timer)
    }
  }

  async #connect(): Promise<pg.PoolClient> {
    try {
      return await this.#pool.connect()
    } catch (err) {
      if (err instanceof DatabaseRoleWrong) throw err
      throw new DatabaseUnavailable(connectReason(err), err)
    } finally {
      this.#measure()
    }
  }

  #measure(): void {
    const { totalCount, idleCount } = this.#pool
    const role = this.#role
    this.#metrics.connections.set({ role, state: 'used' }, totalCount - idleCount)
    this.#metrics.connections.set({ role, state: 'idle' }, idleCount)
    this.#metrics.waiting.set({ role }, this.#turns.waiting)
  }
}

function ignore(): void {}

const setTenant = "select set_config('app.tenant_id', $1, true)"
const noTenant: Begin = [setTenant, '']

/** Transaction-local: after the end of the transaction the connection is no tenant's. */
function settingOf(tenant: TenantId): Begin {
  // The brand is a promise of the compiler; this text is the boundary between customers.
  if (!isTenantId(tenant)) throw new TypeError('not a tenant id')
  return [setTenant, tenant]
}
