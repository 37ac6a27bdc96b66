import { createHash } from 'node:crypto'
import { type AuditEvent, appendEvent } from '../audit/index.ts'
import type { Database, ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import type { ChangeReports } from './change-reports.ts'
import { RecordChanged, SecretDamaged, VaultSealed, VersionsTaken } from './errors.ts'
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
  withTenantKek,
  wrapNewKek,
} from './keyring.ts'
import type { VaultMetrics } from './metrics.ts'
import {
  insertKek,
  insertSecret,
  listKeks,
  listSecrets,
  type NewSecret,
  requireUnsealed,
  type SecretRow,
  versionMax,
} from './queries.ts'
import type { SealState } from './seal-state.ts'

/** A key pair that belongs at a path, and how to make it when it is missing. */
export interface SecretSpec {
  /** Its name in the audit log and in messages. */
  readonly name: string
  readonly algorithm: string
  readonly path: string
  readonly rotationPolicy: string
  /** Nothing depends on the key before it is made: rows at its path that do not open do not count. */
  readonly isNew?: boolean
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
    const missing = await this.#missing(tenant, specs)
    if (missing.length === 0) return
    const tenantKek = await this.tenantKek(tenant)
    const made = await Promise.all(
      missing.map(({ spec, version }) => this.#make(tenant, tenantKek, spec, version)),
    )
    await this.write(tenant, async (tx) => {
      const inserted: typeof made = []
      for (const one of made) {
        if ((await insertSecret(tx, one.secret)) === 1) inserted.push(one)
      }
      for (const one of inserted) await appendEvent(tx, keyCreated(one))
    })
  }

  async find(tenant: TenantId, path: string): Promise<SecretRow | undefined> {
    const rows = await this.read(tenant, (tx) => listSecrets(tx.last(), path))
    return this.newest(tenant, path, rows)
  }

  /** Of the rows at a path, newest first: the newest that opens. Those that do not are reported. */
  newest(
    tenant: TenantId,
    path: string,
    rows: readonly SecretRow[],
  ): Promise<SecretRow | undefined> {
    return newestThatOpens(
      rows,
      (row) => this.#requireOpens(tenant, path, row),
      (row) => this.#reports.report(tenant, { kind: 'secret', id: path, content: contentOf(row) }),
    )
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
    const known = await this.newestKek(tenant)
    if (known !== undefined) return known
    const made = await this.withKek(() => wrapNewKek(this.#kek, tenant, 1))
    await this.write(tenant, (tx) => insertKek(tx, made))
    return (await this.newestKek(tenant)) ?? made
  }

  /** The newest that opens, as of secrets. */
  async newestKek(tenant: TenantId): Promise<WrappedKek | undefined> {
    const rows = await this.read(tenant, (tx) => listKeks(tx.last()))
    const id = `kek/${tenant}`
    return newestThatOpens(
      rows,
      (row) => this.withKek(() => withTenantKek(this.#kek, tenant, row, async () => {})),
      ({ version, wrapped }) => {
        const content = createHash('sha256').update(`${id} ${version} `).update(wrapped)
        this.#reports.report(tenant, { kind: 'secret', id, content: content.digest('hex') })
      },
    )
  }

  /** A row from before BVE2 is proved by its private key alone. */
  async #requireOpens(tenant: TenantId, path: string, row: SecretRow): Promise<void> {
    const place = { tenant, path, version: row.version }
    if (!bindsPublicKey(row)) return this.use(place, row, () => {})
    await this.withKek(() => requirePublicKey(this.#kek, kekOf(row), place, row))
  }

  /** The secrets to be made, and in which version. */
  async #missing(tenant: TenantId, specs: readonly SecretSpec[]): Promise<readonly DueSecret[]> {
    const found = await this.read(tenant, async (tx) => {
      const all: { spec: SecretSpec; rows: readonly SecretRow[] }[] = []
      for (const spec of specs) all.push({ spec, rows: await listSecrets(tx, spec.path) })
      return all
    })
    const due: DueSecret[] = []
    for (const { spec, rows } of found) {
      if (rows.length > 0 && !(spec.isNew && (await this.#isNoneGood(tenant, spec, rows)))) continue
      const version = freeVersion(rows)
      if (version === undefined) throw new VersionsTaken(spec.path)
      due.push({ spec, version })
    }
    return due
  }

  async #isNoneGood(
    tenant: TenantId,
    { path }: SecretSpec,
    rows: readonly SecretRow[],
  ): Promise<boolean> {
    try {
      const newest = await this.newest(tenant, path, rows)
      if (newest !== undefined) await this.#requireOpens(tenant, path, newest)
      return newest === undefined
    } catch (err) {
      if (err instanceof SecretDamaged) return true
      throw err
    }
  }

  async #make(
    tenant: TenantId,
    tenantKek: WrappedKek,
    spec: SecretSpec,
    version: number,
  ): Promise<MadeSecret> {
    const pair = await spec.generate()
    const { privateKey } = pair
    try {
      const { publicKey, fingerprint } = spec.describe(pair.publicBlob)
      const place = { tenant, path: spec.path, version }
      const record: SealedRecord = await this.withKek(() =>
        sealRecord(this.#kek, tenantKek, place, privateKey, publicKey),
      )
      this.#metrics.envelopes.inc({ act: 'seal' })
      const secret = { ...record, path: spec.path, version, rotationPolicy: spec.rotationPolicy }
      return { spec, secret, fingerprint }
    } finally {
      privateKey.fill(0)
    }
  }
}

const restoreRow = 'restore its row of the table vault_secret from a backup'

function contentOf({ version, dek, publicKey }: SecretRow): string {
  return createHash('sha256').update(`${version} `).update(dek).update(publicKey).digest('hex')
}

/**
 * Rows are newest first. A single one, as in every honest tenant, is given without a proof: its use says
 * whether it opens. So is the first where none opens.
 */
async function newestThatOpens<Row>(
  rows: readonly Row[],
  requireOpens: (row: Row) => Promise<void>,
  report: (row: Row) => void,
): Promise<Row | undefined> {
  if (rows.length <= 1) return rows[0]
  let newest: Row | undefined
  for (const row of rows) {
    try {
      await requireOpens(row)
      newest ??= row
    } catch (err) {
      if (!(err instanceof SecretDamaged)) throw err
      report(row)
    }
  }
  return newest ?? rows[0]
}

function freeVersion(rows: readonly SecretRow[]): number | undefined {
  const taken = new Set(rows.map(({ version }) => version))
  for (let version = 1; version <= versionMax; version++) {
    if (!taken.has(version)) return version
  }
  return undefined
}

function kekOf({ kekVersion: version, wrappedKek: wrapped }: SecretRow): WrappedKek {
  return { version, wrapped }
}

/** While the vault is sealed, no later statement of work runs, in the same turn or later. */
async function ifUnsealed<Tx extends ReadTx, T>(tx: Tx, work: (tx: Tx) => Promise<T>): Promise<T> {
  const [, done] = await Promise.all([requireUnsealed(tx), work(tx)])
  return done
}

interface DueSecret {
  readonly spec: SecretSpec
  readonly version: number
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
