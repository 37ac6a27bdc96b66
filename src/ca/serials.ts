import type { Database, TenantId } from '../postgres/index.ts'
import type { CertificateKind } from '../ssh/index.ts'
import type { AuthorityState, Serial } from './generation.ts'
import { takeSerials } from './queries.ts'

interface Block {
  readonly generation: number
  readonly size: number
  next: bigint
  readonly end: bigint
}

/** Each block is twice as large as the one before: a command that has one certificate made takes one. */
const blockSizeMax = 64
const blocksMax = 10_000

/**
 * Serials that this process has taken ahead, so that a certificate need not wait for its own. Those
 * that are left when it ends, or its authority turns, are never used.
 */
export class Serials {
  readonly #database: Database
  readonly #blocks = new Map<string, Block>()

  constructor(database: Database) {
    this.#database = database
  }

  /** Undefined when no authority is in that state. */
  async take(
    tenant: TenantId,
    kind: CertificateKind,
    state: AuthorityState,
  ): Promise<Serial | undefined> {
    const name = nameOf(tenant, kind, state)
    let block = this.#blocks.get(name)
    if (block === undefined || block.next === block.end) {
      const size = block === undefined ? 1 : Math.min(2 * block.size, blockSizeMax)
      const taken = await this.#database.write(tenant, (tx) =>
        takeSerials(tx.last(), kind, state, size),
      )
      if (taken === undefined) return undefined
      const end = BigInt(taken.last) + 1n
      block = { generation: taken.generation, size, next: end - BigInt(size), end }
      if (this.#blocks.size >= blocksMax) this.#blocks.clear()
      this.#blocks.set(name, block)
    }
    return { generation: block.generation, serial: block.next++ }
  }

  /** The authority in that state is another one by now. */
  forget(tenant: TenantId, kind: CertificateKind, state: AuthorityState): void {
    this.#blocks.delete(nameOf(tenant, kind, state))
  }
}

function nameOf(tenant: TenantId, kind: CertificateKind, state: AuthorityState): string {
  return `${tenant} ${kind} ${state}`
}
