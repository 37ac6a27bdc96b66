import { createHash } from 'node:crypto'
import { type AuditEvent, appendEvent } from '../audit/index.ts'
import type { Database, ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import { VaultSealed } from './errors.ts'
import type { Kek } from './kek.ts'
import {
  type RecordPlace,
  type SealedRecord,
  sealRecord,
  useRecord,
  type WrappedKek,
  wrapNewKek,
} from './keyring.ts'
import type { VaultMetrics } from './metrics.ts'
import {
  findNewestKek,
  findNewestSecret,
  insertKek,
  insertSecret,
  type NewSecret,
  requireUnsealed,
  type SecretRow,
} from './queries.ts'
import type { SealState } from './seal-state.ts'

/** A secret that should be there, and how to make it when it is not. */
export interface SecretWish {
  /** What the audit log calls it. */
  readonly name: string
  readonly algorithm: string
  readonly path: string
  readonly rotationPolicy: string
  /** The store wipes the private key once it is sealed. */
  generate(): Promise<NewKeyPair>
}

export interface NewKeyPair {
  readonly privateKey: Buffer
  readonly publicKey: string
  readonly fingerprint: string
}

/** The tree of secrets in Postgres. Every transaction of it first asks whether the vault is sealed. */
export class SecretStore {
  readonly #database: Database
  readonly #kek: Kek
  readonly #state: SealState
  readonly #metrics: VaultMetrics

  constructor(database: Database, kek: Kek, state: SealState, metrics: VaultMetrics) {
    this.#database = database
    this.#kek = kek
    this.#state = state
    this.#metrics = metrics
  }

  /** Grows with each time that the operator's key was wiped. */
  get lapses(): number {
    return this.#state.lapses
  }

  /** Nobody gets what was read while the vault is sealed. */
  read<T>(tenant: TenantId, work: (tx: ReadTx) => Promise<T>): Promise<T> {
    return this.#state.guarded(() => this.#database.read(tenant, (tx) => ifUnsealed(tx, work)))
  }

  /** Rejects while the vault is sealed. */
  require(tenant: TenantId): Promise<void> {
    return this.#state.requireUnsealed(tenant)
  }

  /** What work asks is not done while the vault is sealed. */
  write<T>(tenant: TenantId, work: (tx: WriteTx) => Promise<T>): Promise<T> {
    return this.#state.guarded(() => this.#database.write(tenant, (tx) => ifUnsealed(tx, work)))
  }

  /**
   * Makes the first version of each secret that is missing, all in one transaction with their
   * audit events. Whoever loses a race to make the same ones finds the winner's.
   */
  async create(tenant: TenantId, wishes: readonly SecretWish[]): Promise<void> {
    const missing = await this.read(tenant, async (tx) => {
      const found: SecretWish[] = []
      for (const wish of wishes) {
        if ((await findNewestSecret(tx, wish.path)) === undefined) found.push(wish)
      }
      return found
    })
    if (missing.length === 0) return
    const tenantKek = await this.#tenantKek(tenant)
    const made = await Promise.all(missing.map((wish) => this.#make(tenant, tenantKek, wish)))
    await this.write(tenant, async (tx) => {
      const inserted: typeof made = []
      for (const one of made) {
        if ((await insertSecret(tx, one.secret)) === 1) inserted.push(one)
      }
      for (const one of inserted) await appendEvent(tx, keyCreated(one))
    })
  }

  /** Opens a private key for one use; it is wiped when use has ended. */
  async use<T>(
    place: RecordPlace,
    row: SecretRow,
    use: (privateKey: Buffer) => T | Promise<T>,
  ): Promise<T> {
    const { tenant, path, version } = place
    const tenantKek = { version: row.kekVersion, wrapped: row.wrappedKek }
    this.#metrics.envelopes.inc({ act: 'open' })
    return this.#withKek(() => useRecord(this.#kek, tenantKek, { tenant, path, version }, row, use))
  }

  /**
   * Word of a seal may come when it is over, or may have been missed, and wipes the operator's key
   * all the same: the row says whether it may be read again.
   */
  async #withKek<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (err) {
      if (!(err instanceof VaultSealed)) throw err
      await this.#state.usable()
      return work()
    }
  }

  /** The tenant's newest key, made when it has none. A crash after this leaves an unused key. */
  async #tenantKek(tenant: TenantId): Promise<WrappedKek> {
    const known = await this.read(tenant, findNewestKek)
    if (known !== undefined) return known
    const made = await this.#withKek(() => wrapNewKek(this.#kek, tenant, 1))
    return this.write(tenant, async (tx) => {
      await insertKek(tx, made)
      return (await findNewestKek(tx)) ?? made
    })
  }

  async #make(tenant: TenantId, tenantKek: WrappedKek, wish: SecretWish): Promise<MadeSecret> {
    const { privateKey, publicKey, fingerprint } = await wish.generate()
    try {
      const place = { tenant, path: wish.path, version: 1 }
      const record: SealedRecord = await this.#withKek(() =>
        sealRecord(this.#kek, tenantKek, place, privateKey),
      )
      this.#metrics.envelopes.inc({ act: 'seal' })
      const { path, version } = place
      const secret = { ...record, path, version, publicKey, rotationPolicy: wish.rotationPolicy }
      return { wish, secret, fingerprint }
    } finally {
      privateKey.fill(0)
    }
  }
}

/** While the vault is sealed, nothing that work asks in the same turn or later is done. */
async function ifUnsealed<Tx extends ReadTx, T>(tx: Tx, work: (tx: Tx) => Promise<T>): Promise<T> {
  const [, done] = await Promise.all([requireUnsealed(tx), work(tx)])
  return done
}

interface MadeSecret {
  readonly wish: SecretWish
  readonly secret: NewSecret
  readonly fingerprint: string
}

function keyCreated({ wish, secret, fingerprint }: MadeSecret): AuditEvent {
  return {
    type: 'key.create',
    public: {
      secret: envelopeId(secret),
      secretName: wish.name,
      version: String(secret.version),
      algorithm: wish.algorithm,
      fingerprint,
    },
    private: { path: wish.path },
  }
}

/** Names the sealed bytes themselves: a row put back from the past shows in the log. */
export function envelopeId({ sealed }: SealedRecord): string {
  return createHash('sha256').update(sealed).digest('hex')
}
