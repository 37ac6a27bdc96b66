/** What this process appended to logs, and no head that it signed covers yet. */

import { createHash } from 'node:crypto'
import type { ReadTx, TenantId } from '../postgres/index.ts'
import type { EncodedEvent } from './event.ts'
import { beginsAfterFormer } from './former-epochs.ts'
import type { CompactRange } from './merkle.ts'
import { listLeavesOf, type Tree } from './queries.ts'

/** So many are remembered of one log, and of all. Beyond that, the oldest of the log is given up, and counted. */
const perLogMax = 20_000
const inAllMax = 200_000
/** So many are looked up by their ids at a time. */
const batchMax = 1000
/** So many of the heads that this process signed last are kept for each log. */
const headsMax = 2

/** What is remembered of an event. */
export interface Remembered {
  readonly id: string
  readonly index: number
  /** Where the name of the log begins in its leaf. */
  readonly nameAt: number
  /** SHA-256 of the leaf without that name: only the log knows it. */
  readonly digest: Buffer
  /**
   * The log of the tenant that this process knew to be signed then. An operator may have given that one up a moment
   * before, but not the one that came after it.
   */
  readonly origin?: string | undefined
}

/** An appended event: its log must have this very leaf, at this very place. */
export class OwnAppend implements Remembered {
  readonly id: string
  readonly index: number
  readonly nameAt: number
  readonly digest: Buffer
  readonly origin: string | undefined

  constructor({ id, index, nameAt, digest, origin }: Remembered) {
    this.id = id
    this.index = index
    this.nameAt = nameAt
    this.digest = digest
    this.origin = origin
  }

  static of({ id, leaf }: Pick<EncodedEvent, 'id' | 'leaf'>, index: number): OwnAppend {
    const nameAt = leaf.before.length
    return new OwnAppend({ id, index, nameAt, digest: digestOf(leaf.before, leaf.after) })
  }

  /** The name of the log of a stored leaf, if that is the leaf of the event. */
  logOf(leaf: Buffer): string | undefined {
    const end = leaf.indexOf('"', this.nameAt)
    if (end === -1) return undefined
    const digest = digestOf(leaf.subarray(0, this.nameAt), leaf.subarray(end))
    return digest.equals(this.digest) ? leaf.toString('utf8', this.nameAt, end) : undefined
  }
}

function digestOf(before: Buffer, after: Buffer): Buffer {
  return createHash('sha256').update(before).update(after).digest()
}

/** A head that was compared and signed. */
export type Head = CompactRange & { readonly origin: string }

interface OwnLog {
  /** By their ids, in the order of their commits. */
  readonly appends: Map<string, OwnAppend>
  /** How many were given up, because too many waited. */
  givenUp: number
}

/**
 * Remembers the events that this process appended until a head with them is signed. A superuser who swaps the
 * function that appends, or cuts a log before its head is signed, and covers the traces later, leaves nothing
 * in the database; but the process knows what was committed.
 */
export class OwnAppends {
  readonly #logs = new Map<TenantId, OwnLog>()
  /** The heads that this process signed last, the newest first. */
  readonly #heads = new Map<TenantId, readonly Head[]>()
  #count = 0

  /** The logs with remembered events. */
  tenants(): TenantId[] {
    return [...this.#logs.keys()]
  }

  /** What is remembered of a log, to be kept beyond the end of the process. */
  of(tenant: TenantId): Iterable<OwnAppend> {
    return this.#logs.get(tenant)?.appends.values() ?? []
  }

  has(tenant: TenantId, { id }: OwnAppend): boolean {
    return this.#logs.get(tenant)?.appends.has(id) ?? false
  }

  /** Give it only what has committed. Once is enough: two files may have the same event. */
  add(tenant: TenantId, append: OwnAppend): void {
    if (this.has(tenant, append)) return
    const log = this.#logs.get(tenant) ?? { appends: new Map(), givenUp: 0 }
    const [oldest] = log.appends.keys()
    if (oldest !== undefined && (log.appends.size >= perLogMax || this.#count >= inAllMax)) {
      log.appends.delete(oldest)
      log.givenUp += 1
      this.#count -= 1
    }
    log.appends.set(append.id, append)
    this.#logs.set(tenant, log)
    this.#count += 1
  }

  /** Forgets events, and that others were given up. */
  forget(
    tenant: TenantId,
    { appends, givenUp }: { appends: Iterable<OwnAppend>; givenUp?: number },
  ): void {
    const log = this.#logs.get(tenant)
    if (log === undefined) return
    for (const append of appends) if (log.appends.delete(append.id)) this.#count -= 1
    log.givenUp -= givenUp ?? 0
    if (log.appends.size === 0 && log.givenUp === 0) this.#logs.delete(tenant)
  }

  hasHead(tenant: TenantId): boolean {
    return this.#heads.has(tenant)
  }

  /** A head of the log was compared, and signed. */
  signed(tenant: TenantId, { origin, size, hashes }: Head): void {
    const before = (this.#heads.get(tenant) ?? []).filter((head) => head.origin === origin)
    this.#heads.set(tenant, [{ origin, size, hashes }, ...before].slice(0, headsMax))
  }

  /** Begins to compare them with a log. Call it before the log's snapshot is taken: that has them all. */
  compare(tenant: TenantId): Comparison {
    const { givenUp = 0 } = this.#logs.get(tenant) ?? {}
    return new Comparison([...this.of(tenant)], givenUp, this.#heads.get(tenant) ?? [])
  }
}

export interface Compared {
  /** They are in the log as they were appended. */
  readonly kept: readonly OwnAppend[]
  /** They committed, and are not in the log, or not as they were. In the order of their commits. */
  readonly lost: readonly OwnAppend[]
  /** They are in a log that an operator gave up, on record, as they were appended. */
  readonly former: readonly OwnAppend[]
  /** How many could not be compared. */
  readonly givenUp: number
}

class Comparison {
  readonly #appends: readonly OwnAppend[]
  readonly #givenUp: number
  readonly #heads: readonly Head[]
  /** Of two with one place, at most one is there: the other is looked up by its id. */
  readonly #byIndex: ReadonlyMap<number, OwnAppend>
  readonly #kept = new Set<OwnAppend>()

  constructor(appends: readonly OwnAppend[], givenUp: number, heads: readonly Head[]) {
    this.#appends = appends
    this.#givenUp = givenUp
    this.#heads = heads
    this.#byIndex = new Map(appends.map((append) => [append.index, append]))
  }

  /**
   * The head to read on from, so that each event is among the leaves that are hashed. Another process may have
   * signed a larger one meanwhile, and not of these events.
   */
  get from(): Head | undefined {
    const first = this.#appends.reduce((least, { index }) => Math.min(least, index), Infinity)
    return this.#heads.find(({ size }) => size <= first)
  }

  /** Looks at a leaf that is read anyway. */
  see(index: number, leaf: Buffer, origin: string): void {
    const append = this.#byIndex.get(index)
    if (append?.logOf(leaf) === origin) this.#kept.add(append)
  }

  /** Looks up those that were not among the leaves that were read. In the snapshot of these leaves. */
  async finish(tx: ReadTx, tree: Pick<Tree, 'origin' | 'firstLeaf' | 'size'>): Promise<Compared> {
    const open = new Map(this.#missing().map((append) => [append.id, append]))
    const ids = [...open.keys()]
    const former = new Set<OwnAppend>()
    for (let at = 0; at < ids.length; at += batchMax) {
      for (const { id, index, leaf } of await listLeavesOf(tx, ids.slice(at, at + batchMax))) {
        const append = open.get(id)
        if (append === undefined) continue
        const log = append.logOf(leaf)
        // A leaf beyond the head, or before the first one, is no part of the log.
        const isInPlace = index === tree.firstLeaf + append.index && append.index < tree.size
        if (isInPlace && log === tree.origin) this.#kept.add(append)
        else if (log !== undefined && isFormer(append, index, log, tree)) former.add(append)
      }
    }
    // The log is signed next, and with it the record that there was a former one.
    if (former.size > 0 && !(await beginsAfterFormer(tx))) former.clear()
    return {
      kept: [...this.#kept],
      lost: this.#missing().filter((append) => !former.has(append)),
      former: [...former],
      givenUp: this.#givenUp,
    }
  }

  #missing(): OwnAppend[] {
    return this.#appends.filter((append) => !this.#kept.has(append))
  }
}

/**
 * Whether a leaf is that of an event which an operator gave up with its log. What is in neither log is gone,
 * whoever gave the log up, and why.
 */
function isFormer(
  { origin }: OwnAppend,
  index: number,
  log: string,
  tree: Pick<Tree, 'origin' | 'firstLeaf'>,
): boolean {
  return index < tree.firstLeaf && log !== tree.origin && origin !== tree.origin
}
