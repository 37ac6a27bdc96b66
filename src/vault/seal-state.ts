import type { Log } from '../log.ts'
import {
  type Database,
  type Listening,
  type ReadTx,
  raised,
  systemTenant,
  type TenantId,
} from '../postgres/index.ts'
import type { Place } from './envelope.ts'
import { KekWrong, SealForged, VaultSealed } from './errors.ts'
import type { Kek } from './kek.ts'
import type { VaultMetrics } from './metrics.ts'
import { findState, insertState, requireUnsealed, type StateRow, sealedState } from './queries.ts'

/** Where a process hears that another one has sealed the vault. */
export const sealChannel = 'vaultterm_vault_seal'

/** A seal sends no notification where the database's queue of them is full. */
const lookMs = 15_000

const sealCheckText = Buffer.from('vaultterm seal check'.padEnd(32))
const sealCheckPlace: Place = {
  tenant: systemTenant,
  path: 'vault/seal-check',
  version: 1,
  kind: 'sealCheck',
}
const openProofText = Buffer.from('vaultterm open proof'.padEnd(32))
const openProofPlace = (sealId: string): Place => ({
  ...sealCheckPlace,
  path: `vault/open-proof/${sealId}`,
})

/**
 * Says whether keys may be used now. The row in Postgres decides for every process. A process holds
 * the operator's key only while the row allows it. A row that says that a sealed vault is open counts only
 * with a proof that the operator's key made: any login of the application can write the rest of it.
 */
export class SealState {
  readonly #database: Database
  readonly #kek: Kek
  readonly #metrics: VaultMetrics
  readonly #log: Log
  #listening: Promise<Listening> | undefined
  #looks: NodeJS.Timeout | undefined
  #made: Promise<void> | undefined
  /** The key in memory has passed the seal check since it was loaded, and the vault was open. */
  #checked = false
  /** The last seal, as of that check. */
  #sealId: string | null = null
  /** The last seal that somebody took off without the key, as far as it was told. */
  #forgedSealId: string | undefined
  #forgotten = false
  #lapses = 0
  /** Notifications that were heard and not followed yet. */
  #hints = 0

  constructor(database: Database, kek: Kek, metrics: VaultMetrics, log: Log) {
    this.#database = database
    this.#kek = kek
    this.#metrics = metrics
    this.#log = log
  }

  /** How often the key was wiped. A value that was opened before the last time must not be used. */
  get lapses(): number {
    return this.#lapses
  }

  /** Makes the state on the vault's first use ever; afterwards does nothing. */
  async ready(): Promise<void> {
    this.#made ??= this.#make().catch((err: unknown) => {
      this.#made = undefined
      throw err
    })
    await this.#made
  }

  /** Throws VaultSealed or KekWrong, as far as this process knows. It may not have heard of a seal yet. */
  async usable(): Promise<void> {
    await this.ready()
    while (!this.#checked || this.#forgotten) {
      const lapses = this.#lapses
      const state = await this.#database.read(systemTenant, (tx) => this.find(tx))
      if (state.sealed) throw this.#sealed()
      if (this.#forgotten) await this.load()
      // Wiped while it was read: whether it may be held is asked again.
      if (lapses !== this.#lapses) this.forget()
      else if (!this.#checked) await this.#checkOpen(state)
    }
  }

  /** Runs work whose transaction begins with requireUnsealed. Throws VaultSealed. */
  async guarded<T>(work: () => Promise<T>): Promise<T> {
    await this.usable()
    try {
      return await work()
    } catch (err) {
      throw raised(err) === sealedState ? this.#sealed() : err
    }
  }

  /** Throws VaultSealed. */
  requireUnsealed(tenant: TenantId): Promise<void> {
    return this.guarded(() => this.#database.read(tenant, (tx) => requireUnsealed(tx.last())))
  }

  async find(tx: ReadTx): Promise<StateRow> {
    const state = await findState(tx)
    if (state === undefined) throw new Error('the vault has no state: ready() has not run')
    this.#see(state)
    return state
  }

  /** Reads the key again from its provider. */
  async load(): Promise<void> {
    this.#checked = false
    await this.#kek.load()
    this.#forgotten = false
  }

  /** Throws KekWrong when the key is not the one that this database was sealed with. */
  async check({ kekId, sealCheck }: StateRow): Promise<void> {
    const text = await this.#kek.unwrap(sealCheck, sealCheckPlace)
    if (text === undefined || !text.equals(sealCheckText)) throw new KekWrong(this.#kek.id, kekId)
  }

  /** Whether the vault is open: never sealed, or opened with the operator's key since. */
  async isOpen({ sealed, sealId, openProof }: StateRow): Promise<boolean> {
    if (sealed) return false
    if (sealId === null) return true
    if (openProof === null) return false
    const text = await this.#kek.unwrap(openProof, openProofPlace(sealId))
    return text?.equals(openProofText) === true
  }

  /** The proof that who takes this seal off has the operator's key. */
  prove(sealId: string): Promise<Buffer> {
    return this.#kek.wrap(openProofText, openProofPlace(sealId))
  }

  /** Throws KekWrong, or SealForged where the row says that the vault is open and no key opened it. */
  async #checkOpen(row: StateRow): Promise<void> {
    await this.check(row)
    const isOpen = await this.isOpen(row)
    if (isOpen && !this.#forgotten) {
      this.#checked = true
      this.#sealId = row.sealId
    }
    if (isOpen) return
    this.forget()
    if (row.sealId !== this.#forgedSealId) {
      this.#forgedSealId = row.sealId ?? undefined
      this.#metrics.refusals.inc({ reason: 'seal-forged' })
      this.#log.error('somebody took the seal off the vault in the database, without its key')
    }
    throw new SealForged()
  }

  /** There was a seal since the last look, even if the row says that it is off again. */
  #see(row: StateRow): void {
    if (this.#checked && row.sealId !== this.#sealId) this.forget()
  }

  /** Wipes the key from this process. It is read again when the vault is next used unsealed. */
  forget(): void {
    this.#kek.forget()
    this.#lapses++
    this.#checked = false
    this.#forgotten = true
  }

  /**
   * A notification only says that the row must be read again, because any login can send one.
   * Notifications during a read cause one more read.
   */
  async #heard(): Promise<void> {
    this.#hints += 1
    if (this.#hints > 1) return
    while (this.#hints > 0) {
      this.#hints = 1
      // Unknown: treated as sealed. The next use asks again.
      const state = await this.#database.read(systemTenant, findState).catch(() => undefined)
      if (state?.sealed !== false) this.forget()
      else this.#see(state)
      this.#hints -= 1
    }
  }

  /** The key is not to be held while the vault is sealed. */
  #sealed(): VaultSealed {
    this.forget()
    return new VaultSealed()
  }

  async close(): Promise<void> {
    clearInterval(this.#looks)
    this.forget()
    const listening = await this.#listening?.catch(() => undefined)
    await listening?.close()
  }

  async #make(): Promise<void> {
    // Not known: as if it were sealed.
    const look = () => {
      this.#heard().catch(() => this.forget())
    }
    this.#listening ??= this.#database.listen(sealChannel, look)
    try {
      await this.#listening
    } catch (err) {
      this.#listening = undefined
      throw err
    }
    this.#looks ??= setInterval(() => {
      if (this.#checked) look()
    }, lookMs).unref()
    const known = await this.#database.read(systemTenant, findState)
    if (known !== undefined) return
    const sealCheck = await this.#kek.wrap(sealCheckText, sealCheckPlace)
    await this.#database.write(systemTenant, (tx) => insertState(tx, this.#kek.id, sealCheck))
  }
}
