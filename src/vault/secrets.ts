import { createHash } from 'node:crypto'
import { type AuditEvent, appendEvent } from '../audit/index.ts'
import type { Database, ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import type { ChangeReports } from './change-reports.ts'
import { RecordChanged, SecretDamaged, VaultSealed } from './errors.ts'
import type { Kek } from './kek.ts'
import { arePair, type KeyPair } from './key-pair.ts'
import {
  bindsPublicKey,
  type RecordPlace,
  requirePublicKey,
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

/** A key pair that belongs at a path, and how to make it when it is missing. */
export interface SecretSpec {
  /** Its name in the audit log and in messages. */
  readonly name: string
  readonly algorithm: string
  readonly path: string
  readonly rotationPolicy: string
  /** The store wipes the private key once it is sealed. */
  generate(): Promise<KeyPair>
  /** The public half as it is stored. A key pair has exactly one such text. */
  describe(publicBlob: Buffer): PublicHalf
  /** The public key in such a text, as on the wire; undefined when it is another kind of text. */
  parse(publicKey: string): Buffer | undefined
}

interface PublicHalf {
  readonly publicKey: string
  readonly fingerprint: string
}

/** The tree of secrets in Postgres. Each of its transactions first asks whether the vault is sealed. */
export class SecretStore {
  readonly #database: Database
  readonly #kek: Kek
  readonly #state: SealState
  readonly #metrics: VaultMetrics
  readonly #reports: ChangeReports

  constructor(
    database: Database,
    kek: Kek,
    state: SealState,
    metrics: VaultMetrics,
    reports: ChangeReports,
  ) {
    this.#database = database
    this.#kek = kek
    this.#state = state
    this.#metrics = metrics
    this.#reports = reports
  }

  /** Grows with each time that the operator's key was wiped. */
  get lapses(): number {
    return this.#state.lapses
  }

  /** Rejects with VaultSealed while the vault is sealed, whatever work has read. */
  read<T>(tenant: TenantId, work: (tx: ReadTx) => Promise<T>): Promise<T> {
    return this.#state.guarded(() => this.#database.read(tenant, (tx) => ifUnsealed(tx, work)))
  }

  /** Rejects while the vault is sealed. */
  require(tenant: TenantId): Promise<void> {
    return this.#state.requireUnsealed(tenant)
  }

  /** Rejects with VaultSealed while the vault is sealed; work then has no effect. */
  write<T>(tenant: TenantId, work: (tx: WriteTx) => Promise<T>): Promise<T> {
    return this.#state.guarded(() => this.#database.write(tenant, (tx) => ifUnsealed(tx, work)))
  }

  /**
   * Makes the first version of each secret that is missing, all in one transaction with their
   * audit events. In a race to make the same ones, the losers find the winner's.
   */
  async create(tenant: TenantId, specs: readonly SecretSpec[]): Promise<void> {
    const missing = await this.read(tenant, async (tx) => {
      const found: SecretSpec[] = []
      for (const spec of specs) {
        if ((await findNewestSecret(tx, spec.path)) === undefined) found.push(spec)
      }
      return found
    })
    if (missing.length === 0) return
    const tenantKek = await this.tenantKek(tenant)
    const made = await Promise.all(missing.map((spec) => this.#make(tenant, tenantKek, spec)))
    await this.write(tenant, async (tx) => {
      const inserted: typeof made = []
      for (const one of made) {
        if ((await insertSecret(tx, one.secret)) === 1) inserted.push(one)
      }
      for (const one of inserted) await appendEvent(tx, keyCreated(one))
    })
  }

  /**
   * Opens a private key for one use; it is wiped after use. A row whose public half was exchanged
   * does not open, unless its format does not bind it: then compare the halves.
   */
  async use<T>(
    { tenant, path, version }: RecordPlace,
    row: SecretRow,
    use: (privateKey: Buffer) => T | Promise<T>,
  ): Promise<T> {
    const place = { tenant, path, version }
    this.#metrics.envelopes.inc({ act: 'open' })
    return this.withKek(() => useRecord(this.#kek, kekOf(row), place, row, use))
  }

  /**
   * Throws RecordChanged unless the row's public half is the one that was made with its private
   * half. The vault must be unsealed. Only for rows from before BVE2 is the private key opened.
   */
  async requirePublicKey(tenant: TenantId, spec: SecretSpec, row: SecretRow): Promise<void> {
    const place = { tenant, path: spec.path, version: row.version }
    try {
      if (bindsPublicKey(row)) {
        await this.withKek(() => requirePublicKey(this.#kek, kekOf(row), place, row))
        return
      }
      const blob = spec.parse(row.publicKey)
      if (blob !== undefined && spec.describe(blob).publicKey === row.publicKey) {
        if (await this.use(place, row, (privateKey) => arePair(privateKey, blob))) return
      }
    } catch (err) {
      if (!(err instanceof SecretDamaged)) throw err
    }
    this.#reports.report(tenant, { kind: 'secret', id: spec.path, content: contentOf(row) })
    throw new RecordChanged(`the key pair ${spec.name} at ${spec.path}`, restoreRow)
  }

  /**
   * A notification of a seal wipes the operator's key, also when it comes late or was only feared to be
   * missed. The row then says whether the key may be read again.
   */
  async withKek<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (err) {
      if (!(err instanceof VaultSealed)) throw err
      await this.#state.usable()
      return work()
    }
  }

  /** The tenant's newest key, made when it has none. A crash after this leaves an unused key. */
  async tenantKek(tenant: TenantId): Promise<WrappedKek> {
    const known = await this.read(tenant, findNewestKek)
    if (known !== undefined) return known
    const made = await this.withKek(() => wrapNewKek(this.#kek, tenant, 1))
    return this.write(tenant, async (tx) => {
      await insertKek(tx, made)
      return (await findNewestKek(tx)) ?? made
    })
  }

  async #make(tenant: TenantId, tenantKek: WrappedKek, spec: SecretSpec): Promise<MadeSecret> {
    const pair = await spec.generate()
    const { privateKey } = pair
    try {
      const { publicKey, fingerprint } = spec.describe(pair.publicBlob)
      const place = { tenant, path: spec.path, version: 1 }
      const record: SealedRecord = await this.withKek(() =>
        sealRecord(this.#kek, tenantKek, place, privateKey, publicKey),
      )
      this.#metrics.envelopes.inc({ act: 'seal' })
      const { path, version } = place
      const secret = { ...record, path, version, rotationPolicy: spec.rotationPolicy }
      return { spec, secret, fingerprint }
    } finally {
      privateKey.fill(0)
    }
  }
}

const restoreRow = 'restore its row of the table vault_secret from a backup'

function contentOf({ dek, publicKey }: SecretRow): string {
  return createHash('sha256').update(dek).update(publicKey).digest('hex')
}

function kekOf({ kekVersion: version, wrappedKek: wrapped }: SecretRow): WrappedKek {
  return { version, wrapped }
}

/** While the vault is sealed, no later statement of work runs, in the same turn or later. */
async function ifUnsealed<Tx extends ReadTx, T>(tx: Tx, work: (tx: Tx) => Promise<T>): Promise<T> {
  const [, done] = await Promise.all([requireUnsealed(tx), work(tx)])
  return done
}

interface MadeSecret {
  readonly spec: SecretSpec
  readonly secret: NewSecret
  readonly fingerprint: string
}

function keyCreated({ spec, secret, fingerprint }: MadeSecret): AuditEvent {
  return {
    type: 'key.create',
    public: {
      secret: envelopeId(secret),
      secretName: spec.name,
      version: String(secret.version),
      algorithm: spec.algorithm,
      fingerprint,
    },
    private: { path: spec.path },
  }
}

/** Names the sealed bytes themselves: a row put back from the past shows in the log. */
export function envelopeId({ sealed }: SealedRecord): string {
  return createHash('sha256').update(sealed).digest('hex')
}
