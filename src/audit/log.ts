import { randomBytes } from 'node:crypto'
import type { WriteTx } from '../postgres/index.ts'
import { encodeEvent } from './event.ts'
import type { AuditEvent } from './event-types.ts'
import { appendLeafHash, leafHash, rootHash } from './merkle.ts'
import { appendSeconds, appends, kindOf } from './metrics.ts'
import { insertLeaf, lockTree } from './queries.ts'

/** Where an event landed, and the root that commits to it and to every leaf before it. */
export interface Receipt {
  readonly eventId: string
  readonly leafIndex: number
  readonly rootHash: Buffer
}

/** A log that nobody else appends to until the transaction ends. */
export interface LockedLog {
  /** Appends one event. There is one append for each lock. */
  append(event: AuditEvent): Promise<Receipt>
  /** The same, which ends the transaction: nothing can be asked or undone behind it. */
  appendLast(event: AuditEvent): Promise<Receipt>
}

/**
 * Appends event to the log of the transaction's tenant.
 *
 * Pass the transaction that performs the audited act: both commit, or neither does.
 * A log has one order, so concurrent appends wait here for the tree row. Append last,
 * to hold it briefly.
 */
export async function appendEvent(tx: WriteTx, event: AuditEvent): Promise<Receipt> {
  return (await lockLog(tx)).append(event)
}

/** The same, with the end of the transaction. */
export async function appendLastEvent(tx: WriteTx, event: AuditEvent): Promise<Receipt> {
  return (await lockLog(tx)).appendLast(event)
}

/**
 * Takes the log's lock, which is the last that a transaction takes: ask for it behind what changes
 * rows, in the same turn, and it costs no round trip of its own.
 */
export async function lockLog(tx: WriteTx): Promise<LockedLog> {
  const stop = appendSeconds.startTimer()
  const before = await lockTree(tx)
  const append = async (event: AuditEvent, into: () => WriteTx) => {
    const encoded = encodeEvent(event, { log: before.origin, now: new Date(), random: randomBytes })
    const hash = leafHash(encoded.leaf)
    const after = appendLeafHash(before, hash)
    await insertLeaf(into(), encoded, hash, after)
    stop()
    appends.inc({ kind: kindOf(event.type) })
    return { eventId: encoded.id, leafIndex: before.size, rootHash: rootHash(after) }
  }
  return {
    append: (event) => append(event, () => tx),
    appendLast: (event) => append(event, () => tx.last()),
  }
}
