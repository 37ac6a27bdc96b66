import { randomBytes } from 'node:crypto'
import { raised, violation, type WriteTx } from '../postgres/index.ts'
import { LogDamaged } from './errors.ts'
import { type EncodedEvent, encodeEvent } from './event.ts'
import type { AuditEvent } from './event-types.ts'
import { appendSeconds, appends, kindOf } from './metrics.ts'
import { OwnAppend } from './own-appends.ts'
import { type Act, type Door, insertLeaf, insertLeafBy, lockTree } from './queries.ts'

/** Where an event landed. */
export interface Receipt {
  readonly eventId: string
  readonly leafIndex: number
}

/**
 * Appends event to the log of the transaction's tenant.
 *
 * Pass the transaction that performs the audited act: both commit, or neither does.
 * A log has one order, so concurrent appends wait here for the tree row. Append last,
 * to hold it briefly.
 */
export async function appendEvent(tx: WriteTx, event: AuditEvent): Promise<Receipt> {
  const receipt = await append(tx, event)
  if (receipt === undefined) throw new Error('a log did not return the index of an event')
  return receipt
}

/** The same, and ends the transaction: no statement can follow, and no error can undo it. */
export function appendLastEvent(tx: WriteTx, event: AuditEvent): Promise<Receipt> {
  return appendEvent(tx.last(), event)
}

/**
 * Performs an act that is one statement, appends its event if it changed a row, and ends the
 * transaction, all in one. Undefined when it changed none.
 */
export function actAndAppendLast(
  tx: WriteTx,
  act: Act,
  event: AuditEvent,
): Promise<Receipt | undefined> {
  return append(tx.last(), event, act)
}

/**
 * Performs an act that the database does only together with its event. The database refuses an event that
 * does not tell of the act.
 */
export async function actAndAppendBy(tx: WriteTx, door: Door, event: AuditEvent): Promise<Receipt> {
  const receipt = await write(tx, event, (encoded) => insertLeafBy(tx, door, encoded))
  if (receipt === undefined) throw new Error('a log did not say where an event landed')
  return receipt
}

function append(tx: WriteTx, event: AuditEvent, act?: Act): Promise<Receipt | undefined> {
  return write(tx, event, (encoded) => insertLeaf(tx, encoded, act))
}

async function write(
  tx: WriteTx,
  event: AuditEvent,
  insert: (encoded: EncodedEvent) => Promise<number | undefined>,
): Promise<Receipt | undefined> {
  const stop = appendSeconds.startTimer()
  const encoded = encodeEvent(event, { now: new Date(), random: randomBytes })
  const leafIndex = await insert(encoded).catch(throwDamage)
  if (leafIndex === undefined) return undefined
  if (!Number.isSafeInteger(leafIndex) || leafIndex < 0) {
    throw new LogDamaged('it gives an event no place')
  }
  tx.tell(OwnAppend.of(encoded, leafIndex))
  stop()
  appends.inc({ kind: kindOf(event.type) })
  return { eventId: encoded.id, leafIndex }
}

/**
 * Takes the log's lock before there is an event to append. Until the transaction ends, no other
 * transaction appends, and later statements of this one run with the lock held. It is the last lock
 * that a transaction takes.
 */
export function lockLog(tx: WriteTx): Promise<void> {
  return lockTree(tx).catch(throwDamage)
}

/**
 * The state that the database returns for a head that cannot be appended to:
 * migrations/0013_log_door.sql.
 */
const damagedState = 'VT013'

/** A damaged head stays with its tenant: callers tell it from an outage, which is everybody's. */
function throwDamage(err: unknown): never {
  if (raised(err) === damagedState) throw new LogDamaged(messageOf(err), err)
  // The head says that the log is shorter than it is: the place of the new leaf is taken.
  if (violation(err)?.constraint === 'audit_leaf_pkey')
    throw new LogDamaged('its head is behind its leaves', err)
  throw err
}

function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : 'it cannot be appended to'
}
