import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { EncodedEvent } from './event.ts'
import type { CompactRange } from './merkle.ts'

// Row-level security narrows every statement here to the transaction's tenant.

/** The head of a log, with the name it has in its leaves and checkpoints. */
export interface Tree extends CompactRange {
  readonly origin: string
}

/** Lock order: this row is always the last one that a transaction locks. */
export async function lockTree(tx: WriteTx): Promise<void> {
  await tx.one('select from audit_tree for update')
}

export function readTree(tx: ReadTx): Promise<Tree> {
  return tx.one('select origin, size, hashes from audit_tree')
}

/** A statement that changes at most one row, and returns it. */
export interface Act {
  readonly text: string
  readonly values: readonly unknown[]
}

/**
 * Writes a leaf, and the head that includes it. Answers at which index. With an act, in one statement
 * with it, and only when that has changed a row; undefined when it has not.
 */
export async function insertLeaf(
  tx: WriteTx,
  { id, leaf, private: hidden }: EncodedEvent,
  act?: Act,
): Promise<number | undefined> {
  const before = act?.values ?? []
  const places = [1, 2, 3, 4, 5].map((place) => `$${before.length + place}`)
  const append = `select audit_append(${places.join(', ')}) as index`
  const row = await tx.maybe<{ index: number }>(
    act === undefined ? append : `with act as (${act.text}) ${append} from act`,
    [...before, id, leaf.before, leaf.after, hidden?.salt ?? null, hidden?.payload ?? null],
  )
  return row?.index
}

/** A stored leaf with its private payload, where it has one. */
export interface LeafRow {
  readonly index: number
  readonly eventId: string
  readonly leaf: Buffer
  readonly leafHash: Buffer
  readonly salt: Buffer | null
  readonly payload: Buffer | null
}

/** Leaves in order from an index on. */
export function listLeaves(tx: ReadTx, from: number, limit: number): Promise<LeafRow[]> {
  return tx.many(
    `select l.leaf_index as index, l.event_id as "eventId", l.leaf, l.leaf_hash as "leafHash",
       p.salt, p.payload
     from audit_leaf l left join audit_private p using (tenant_id, event_id)
     where l.leaf_index >= $1 order by l.leaf_index limit $2`,
    [from, limit],
  )
}

export function listLeafBytes(
  tx: ReadTx,
  from: number,
  limit: number,
): Promise<{ index: number; leaf: Buffer }[]> {
  return tx.many(
    `select leaf_index as index, leaf from audit_leaf
     where leaf_index >= $1 order by leaf_index limit $2`,
    [from, limit],
  )
}

/** How many leaves and private payloads there are, whatever points at them. */
export function countRows(tx: ReadTx): Promise<{ leaves: number; privates: number }> {
  return tx.one(
    `select (select count(*) from audit_leaf) as leaves,
       (select count(*) from audit_private) as privates`,
  )
}

export interface CheckpointRow extends CompactRange {
  readonly note: string
}

export function findLastCheckpoint(tx: ReadTx): Promise<CheckpointRow | undefined> {
  return tx.maybe('select size, hashes, note from audit_checkpoint order by size desc limit 1')
}

/** Checkpoints in order of size, from the one after a size on. */
export function listCheckpoints(
  tx: ReadTx,
  after: number,
  limit: number,
): Promise<CheckpointRow[]> {
  return tx.many(
    `select size, hashes, note from audit_checkpoint
     where size > $1 order by size limit $2`,
    [after, limit],
  )
}

/** Another node may have published the same head: the log is one, and so is its note. */
export async function insertCheckpoint(
  tx: WriteTx,
  { size, hashes, note }: CheckpointRow,
): Promise<void> {
  await tx.run(
    `insert into audit_checkpoint (size, hashes, note) values ($1, $2, $3)
     on conflict (tenant_id, size) do nothing`,
    [size, hashes, note],
  )
}

/** Logs with leaves that no checkpoint covers yet. Needs the system role: see the policy `heads`. */
export function listGrownLogs(tx: ReadTx, limit: number): Promise<{ tenant: string }[]> {
  return tx.many(
    `select t.tenant_id as tenant from audit_tree t
     where t.size > coalesce(
       (select max(c.size) from audit_checkpoint c where c.tenant_id = t.tenant_id), 0)
     order by random() limit $1`,
    [limit],
  )
}
