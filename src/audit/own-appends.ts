/** What this process appended to logs, and no signed head covers yet. */

import { createHash } from 'node:crypto'
import type { ReadTx, TenantId } from '../postgres/index.ts'
import type { EncodedEvent } from './event.ts'
import { listLeavesOf, type Tree } from './queries.ts'

/** So many are remembered of one log, and of all. Beyond that, the oldest of the log is forgotten. */
const perLogMax = 20_000
const inAllMax = 200_000
/** So many are looked up by their ids at a time. */
const batchMax = 1000

/** An appended event: its log must have this very leaf, at this very place. */
export class OwnAppend {
  readonly id: string
  readonly index: number
  readonly #nameAt: number
  /** Of the leaf without the name of its log: only the log knows that. */
  readonly #digest: Buffer

  constructor({ id, leaf }: Pick<EncodedEvent, 'id' | 'leaf'>, index: number) {
    this.id = id
    this.index = index
    this.#nameAt = leaf.before.length
    this.#digest = digestOf(leaf.before, leaf.after)
  }

  /** Whether a stored leaf is that of the event, in a log of that name; without one, in any log. */
  isStoredAs(leaf: Buffer, origin?: string): boolean {
    const end = leaf.indexOf('"', this.#nameAt)
    if (end === -1) return false
    if (origin !== undefined && leaf.toString('utf8', this.#nameAt, end) !== origin) return false
    return digestOf(leaf.subarray(0, this.#nameAt), leaf.subarray(end)).equals(this.#digest)
  }
}

function digestOf(before: Buffer, after: Buffer): Buffer {
  return createHash('sha256').update(before).update(after).digest()
}

/**
 * Remembers the events that this process appended until a head with them is signed. A superuser who swaps the
 * function that appends, or cuts a log before its head is signed, and covers the traces later, leaves nothing
 * in the database; but the process knows what was committed.
 */
export class OwnAppends {
  /** In the order of their commits. */
  readonly #logs = new Map<TenantId, Set<OwnAppend>>()
  #count = 0

  /** The logs with remembered events. */
  tenants(): TenantId[] {
    return [...this.#logs.keys()]
  }

  /** Give it only what has committed. */
  add(tenant: TenantId, append: OwnAppend): void {
    const log = this.#logs.get(tenant) ?? new Set()
    const [oldest] = log
    if (oldest !== undefined && (log.size >= perLogMax || this.#count >= inAllMax)) {
      this.forget(tenant, [oldest])
    }
    log.add(append)
    this.#logs.set(tenant, log)
    this.#count += 1
  }

  forget(tenant: TenantId, appends: Iterable<OwnAppend>): void {
    const log = this.#logs.get(tenant)
    if (log === undefined) return
    for (const append of appends) if (log.delete(append)) this.#count -= 1
    if (log.size === 0) this.#logs.delete(tenant)
  }

  /** Begins to compare them with a log. Call it before the log's snapshot is taken: that has them all. */
  compare(tenant: TenantId): Comparison {
    return new Comparison([...(this.#logs.get(tenant) ?? [])])
  }
}

export interface Compared {
  /** They are in the log as they were appended. */
  readonly kept: readonly OwnAppend[]
  /** They committed, and are not in the log, or not as they were. In the order of their commits. */
  readonly lost: readonly OwnAppend[]
}

class Comparison {
  readonly #appends: readonly OwnAppend[]
  /** Of two with one place, at most one is there: the other is looked up by its id. */
  readonly #byIndex: ReadonlyMap<number, OwnAppend>
  readonly #kept = new Set<OwnAppend>()

  constructor(appends: readonly OwnAppend[]) {
    this.#appends = appends
    this.#byIndex = new Map(appends.map((append) => [append.index, append]))
  }

  /** Looks at a leaf that is read anyway. */
  see(index: number, leaf: Buffer, origin: string): void {
    const append = this.#byIndex.get(index)
    if (append?.isStoredAs(leaf, origin) === true) this.#kept.add(append)
  }

  /** Looks up those that were not among the leaves that were read. In the snapshot of these leaves. */
  async finish(tx: ReadTx, tree: Pick<Tree, 'origin' | 'firstLeaf'>): Promise<Compared> {
    const open = new Map(this.#missing().map((append) => [append.id, append]))
    const ids = [...open.keys()]
    for (let at = 0; at < ids.length; at += batchMax) {
      for (const { id, index, leaf } of await listLeavesOf(tx, ids.slice(at, at + batchMax))) {
        const append = open.get(id)
        if (append !== undefined && isAt(append, index, leaf, tree)) this.#kept.add(append)
      }
    }
    return { kept: [...this.#kept], lost: this.#missing() }
  }

  #missing(): OwnAppend[] {
    return this.#appends.filter((append) => !this.#kept.has(append))
  }
}

/** Whether the event has its place in the log, or in a former epoch, which an operator gave up on record. */
function isAt(
  append: OwnAppend,
  index: number,
  leaf: Buffer,
  { origin, firstLeaf }: Pick<Tree, 'origin' | 'firstLeaf'>,
): boolean {
  if (index >= 0 && index < firstLeaf) return append.isStoredAs(leaf)
  return index === firstLeaf + append.index && append.isStoredAs(leaf, origin)
}
