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

/**
 * Appends event to the log of the transaction's tenant.
 *
 * Pass the transaction that performs the audited act: both commit, or neither does.
 * A log has one order, so concurrent appends wait here for the tree row. Append last,
 * to hold it briefly.
 */
export async function appendEvent(tx: WriteTx, event: AuditEvent): Promise<Receipt> {
  const stop = appendSeconds.startTimer()
  const before = await lockTree(tx)
  const encoded = encodeEvent(event, { log: before.origin, now: new Date(), random: randomBytes })
  const hash = leafHash(encoded.leaf)
  const after = appendLeafHash(before, hash)
  await insertLeaf(tx, encoded, hash, after)
  stop()
  appends.inc({ kind: kindOf(event.type) })
  return { eventId: encoded.id, leafIndex: before.size, rootHash: rootHash(after) }
}
