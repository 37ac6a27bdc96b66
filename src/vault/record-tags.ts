import { appendEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import type { Database, TenantId, WriteTx } from '../postgres/index.ts'
import type { ChangeReports } from './change-reports.ts'
import { formatOf } from './envelope.ts'
import { KekWrong, SecretDamaged, VaultSealed } from './errors.ts'
import type { Kek } from './kek.ts'
import { rewrapKek, type WrappedKek, withTenantKek } from './keyring.ts'
import { findKek, listUntaggedTenants, replaceKek, versionMax } from './queries.ts'
import {
  contentId,
  isTagOf,
  keyVersionOf,
  makeTag,
  type TaggedRecord,
  tagKey,
} from './record-tag.ts'
import type { SecretStore } from './secrets.ts'

/** Makes the tag of a row, to be stored beside it. */
export type TagRecord = (record: TaggedRecord) => Buffer

/** A row with the tag that stands beside it; null for none. */
export interface TaggedRow {
  readonly record: TaggedRecord
  readonly tag: Buffer | null
}

const keksMax = 10_000
const intactMax = 100_000

/**
 * The tags of all tenants. A row without its tag is not used, because VaultTerm did not write it.
 */
export class RecordTags {
  readonly #database: Database
  readonly #kek: Kek
  readonly #secrets: SecretStore
  readonly #log: Log
  /** Tenants' keys by tenant and version, wrapped; at most keksMax. None that may still change. */
  readonly #keks = new Map<string, WrappedKek>()
  /** Rows that were found intact, by their content; at most intactMax. */
  readonly #intact = new Set<string>()
  readonly #reports: ChangeReports
  /** Tenants whose rows are from before tags, and could not be tagged when this process started. */
  readonly #untagged = new Set<TenantId>()

  constructor(
    database: Database,
    kek: Kek,
    secrets: SecretStore,
    reports: ChangeReports,
    log: Log,
  ) {
    this.#database = database
    this.#kek = kek
    this.#secrets = secrets
    this.#reports = reports
    this.#log = log
  }

  /** Runs work with the means to tag rows, which ends with it. Throws VaultSealed. */
  async tagging<T>(tenant: TenantId, work: (tag: TagRecord) => Promise<T>): Promise<T> {
    const kek = await this.#secrets.tenantKek(tenant)
    return this.#withKey(tenant, kek, (key) =>
      work((record) => makeTag(key, kek.version, tenant, record)),
    )
  }

  /**
   * Whether each row is as VaultTerm wrote it, in their order. Asks the database only when the
   * process meets the tenant for the first time. A row that is not intact is reported; the caller
   * refuses it. Throws VaultSealed for rows that cannot be checked while it is sealed.
   *
   * Call it outside of transactions: it may need a connection of its own.
   */
  async areIntact(tenant: TenantId, rows: readonly TaggedRow[]): Promise<readonly boolean[]> {
    const named = rows.map((row) => ({ ...row, name: contentId(tenant, row.record, row.tag) }))
    const unknown = named.filter(({ name }) => !this.#intact.has(name))
    const found = new Set<string>()
    const byVersion = Map.groupBy(unknown, ({ tag }) => (tag === null ? null : keyVersionOf(tag)))
    for (const [version, group] of byVersion) {
      for (const one of await this.#intactOf(tenant, version, group)) {
        found.add(one.name)
        // A row without a tag is taken only until its tenant's rows are tagged: it is asked about again.
        if (version !== null) this.#remember(one.name)
      }
    }
    return named.map((one) => {
      const isIntact = found.has(one.name) || this.#intact.has(one.name)
      const { kind, id } = one.record
      if (!isIntact) this.#reports.report(tenant, { kind, id, content: one.name })
      return isIntact
    })
  }

  /**
   * Tags the rows of tenants that were there before tags were. `tagRows` tags all that a tenant has.
   * A failure stays with its tenant, is logged, and is tried again at the next start.
   */
  async tagOldTenants(tagRows: (tx: WriteTx, tag: TagRecord) => Promise<number>): Promise<void> {
    const due = await this.#database.system(listUntaggedTenants)
    for (const tenant of due) this.#untagged.add(tenant)
    for (const tenant of due) {
      try {
        await this.#tagOld(tenant, tagRows)
        this.#untagged.delete(tenant)
      } catch (err) {
        this.#log.error({ err, tenant }, 'the rows of a tenant could not be tagged')
        if (err instanceof VaultSealed || err instanceof KekWrong) return
      }
    }
  }

  async #tagOld(
    tenant: TenantId,
    tagRows: (tx: WriteTx, tag: TagRecord) => Promise<number>,
  ): Promise<void> {
    await this.#secrets.require(tenant)
    const old = await this.#secrets.tenantKek(tenant)
    // Its format counts: the column only says where to look.
    if (formatOf(old.wrapped) !== 1) return
    const wrapped = await this.#secrets.withKek(() => rewrapKek(this.#kek, tenant, old))
    await this.#withKey(tenant, wrapped, (key) =>
      this.#secrets.write(tenant, async (tx) => {
        // Another process may have been faster: then there is nothing to do here.
        if (!(await replaceKek(tx, old, wrapped))) return
        const tag: TagRecord = (record) => makeTag(key, wrapped.version, tenant, record)
        const count = await tagRows(tx, tag)
        await appendEvent(tx, { type: 'record.tag', public: { count: String(count) } })
      }),
    )
    this.#log.info({ tenant }, 'the rows of a tenant were tagged')
  }

  async #intactOf<Row extends TaggedRow>(
    tenant: TenantId,
    version: number | null | undefined,
    rows: readonly Row[],
  ): Promise<readonly Row[]> {
    if (version === undefined || (version ?? 0) > versionMax) return []
    const kek = await this.#find(tenant, version)
    if (kek === undefined) return []
    if (version === null) {
      // A key of the first format is from before tags. Anybody who can write to the database can
      // insert such a row. It counts only for a tenant that had it at the start, and only if it
      // opens.
      if (!this.#untagged.has(tenant) || formatOf(kek.wrapped) !== 1) return []
      return this.#withKey(tenant, kek, async () => rows)
    }
    try {
      return await this.#withKey(tenant, kek, async (key) =>
        rows.filter(
          ({ record, tag }) => tag !== null && isTagOf(tag, key, version, tenant, record),
        ),
      )
    } catch (err) {
      // Any login of the application can add such a key, and a row that names it.
      if (err instanceof SecretDamaged) return []
      throw err
    }
  }

  async #find(tenant: TenantId, version: number | null): Promise<WrappedKek | undefined> {
    const place = `${tenant} ${version}`
    const kept = this.#keks.get(place)
    if (kept !== undefined) return kept
    const found = await (version === null
      ? this.#secrets.newestKek(tenant)
      : this.#secrets.read(tenant, (tx) => findKek(tx.last(), version)))
    if (found === undefined || version === null || formatOf(found.wrapped) === 1) return found
    if (this.#keks.size >= keksMax) this.#keks.clear()
    this.#keks.set(place, found)
    return found
  }

  async #withKey<T>(
    tenant: TenantId,
    kek: WrappedKek,
    work: (key: Buffer) => Promise<T>,
  ): Promise<T> {
    const key = await this.#secrets.withKek(() =>
      withTenantKek(this.#kek, tenant, kek, async (opened) => tagKey(opened)),
    )
    try {
      return await work(key)
    } finally {
      key.fill(0)
    }
  }

  #remember(name: string): void {
    if (this.#intact.size >= intactMax) this.#intact.clear()
    this.#intact.add(name)
  }
}
