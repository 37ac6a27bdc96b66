import { appendEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import { type Database, systemTenant, type WriteTx } from '../postgres/index.ts'
import type { Kek } from './kek.ts'
import { notifySealed, setSealed, setUnsealed } from './queries.ts'
import { type SealState, sealChannel } from './seal-state.ts'

export interface VaultStatus {
  readonly sealed: boolean
  readonly provider: string
  readonly kekId: string
}

/** Seals and unseals the vault on every node, on record. */
export class Seal {
  readonly #database: Database
  readonly #kek: Kek
  readonly #state: SealState
  readonly #log: Log

  constructor(database: Database, kek: Kek, state: SealState, log: Log) {
    this.#database = database
    this.#kek = kek
    this.#state = state
    this.#log = log
  }

  /** Throws KekWrong when the operator's key is not the one this database was sealed with. */
  async status(): Promise<VaultStatus> {
    await this.#state.ready()
    const row = await this.#database.read(systemTenant, (tx) => this.#state.find(tx))
    if (!row.sealed) await this.#state.requireUnsealed(systemTenant)
    return { sealed: row.sealed, provider: this.#kek.provider, kekId: row.kekId }
  }

  /** Takes the keys out of use on every node, and wipes the operator's key from this process. */
  async seal(): Promise<void> {
    try {
      await this.#state.ready()
      await this.#change('vault.seal', async (tx) => {
        const changed = await setSealed(tx)
        if (changed > 0) await notifySealed(tx, sealChannel)
        return changed
      })
    } finally {
      // Also when the database did not answer: then the row still decides what this process may do.
      this.#state.forget()
    }
    this.#log.info('vault sealed')
  }

  /** Reads the operator's key again and, when it is the right one, opens the vault on every node. */
  async unseal(): Promise<void> {
    await this.#state.ready()
    const row = await this.#database.read(systemTenant, (tx) => this.#state.find(tx))
    // A late notification of the seal wipes the key again: nothing is awaited in between.
    await this.#state.load()
    const { sealId } = row
    const [isOpen, proof] = await Promise.all([
      this.#state.isOpen(row),
      sealId === null ? undefined : this.#state.prove(sealId),
      this.#state.check(row),
    ])
    if (!isOpen && proof !== undefined) {
      await this.#change('vault.unseal', (tx) => setUnsealed(tx, row, proof))
    }
    this.#log.info('vault unsealed')
  }

  async #change(type: 'vault.seal' | 'vault.unseal', change: (tx: WriteTx) => Promise<number>) {
    await this.#database.write(systemTenant, async (tx) => {
      if ((await change(tx)) === 0) return
      const { provider, id: kek } = this.#kek
      await appendEvent(tx, { type, public: { provider, kek } })
    })
  }
}
