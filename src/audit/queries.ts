import type { ReadTx, WriteTx } from '../postgres/index.ts'
import { LogInconsistent } from './errors.ts'
import { type EncodedEvent, payloadBytesMax } from './event.ts'
import type { CompactRange } from './merkle.ts'

// Row-level security narrows every statement here to the transaction's tenant. Indexes and sizes count
// from the first leaf of the log's epoch; the tables count from that of the first epoch.

/** The head of a log, with the name it has in its leaves and checkpoints. */
export interface Tree extends CompactRange {
  readonly origin: string
  /** How many leaves of former epochs stand before the first one of this log. */
  readonly firstLeaf: number
}

/** Lock order: this row is always the last one that a transaction locks. */
export async function lockTree(tx: WriteTx): Promise<void> {
  await tx.one('select audit_lock()')
}

/** Of a stored number that no number here holds: no log has so many leaves. */
const held = (column: string) => `least(${column}, ${Number.MAX_SAFE_INTEGER})`

/** undefined where somebody removed it: each tenant's log has a head from the start. */
export function findTree(tx: ReadTx): Promise<Tree | undefined> {
  return tx.maybe(
    `select origin, ${held('size')} as size, hashes, ${held('first_leaf')} as "firstLeaf" from audit_tree`,
  )
}

/** Throws LogInconsistent where it was removed. */
export async function readTree(tx: ReadTx): Promise<Tree> {
  const tree = await findTree(tx)
  if (tree === undefined) throw new LogInconsistent('of this tenant', 'head', 'its head is gone')
  return tree
}

/** A statement that changes at most one row, and returns it. */
export interface Act {
  readonly text: string
  readonly values: readonly unknown[]
}

/** A function of the database that does an act and appends its event: its first argument, then those of audit_append. */
export interface Door {
  readonly name: 'session_kill' | 'user_role_change' | 'web_session_open' | 'web_session_renew'
  readonly subject: string | Buffer
}

/** The values of audit_append, in its order. */
export function appendValues({ id, leaf, private: hidden }: EncodedEvent): readonly unknown[] {
  return [id, leaf.before, leaf.after, hidden?.salt ?? null, hidden?.payload ?? null]
}

/**
 * Writes a leaf, and the head that includes it. Answers at which index. With an act, in one statement
 * with it, and only when that has changed a row; undefined when it has not.
 */
export async function insertLeaf(
  tx: WriteTx,
  event: EncodedEvent,
  act?: Act,
): Promise<number | undefined> {
  const before = act?.values ?? []
  const places = [1, 2, 3, 4, 5].map((place) => `$${before.length + place}`)
  const append = `select audit_append(${places.join(', ')}) as index`
  const row = await tx.maybe<{ index: number }>(
    act === undefined ? append : `with act as (${act.text}) ${append} from act`,
    [...before, ...appendValues(event)],
  )
  return row?.index
}

/** Does the act of a door, and writes its leaf. Answers at which index. */
export async function insertLeafBy(tx: WriteTx, door: Door, event: EncodedEvent): Promise<number> {
  const { index } = await tx.one<{ index: number }>(
    `select ${door.name}($1, $2, $3, $4, $5, $6) as index`,
    [door.subject, ...appendValues(event)],
  )
  return index
}

/** A stored leaf with its private payload, where it has one. */
export interface LeafRow {
  readonly index: number
  readonly eventId: string
  readonly leaf: Buffer
  readonly leafHash: Buffer
  readonly salt: Buffer | null
  /** Null beside a salt: it is too large to be one of ours, and was not read. */
  readonly payload: Buffer | null
}

const firstLeaf = `(select coalesce(max(${held('first_leaf')}), 0) from audit_tree)`

const leafColumns = `${held('l.leaf_index')} - ${firstLeaf} as index, l.event_id as "eventId", l.leaf,
  l.leaf_hash as "leafHash", p.salt,
  case when octet_length(p.payload) <= ${payloadBytesMax} then p.payload end as payload`

/** Leaves in order from an index on. */
export function listLeaves(tx: ReadTx, from: number, limit: number): Promise<LeafRow[]> {
  return tx.many(
    `select ${leafColumns}
     from audit_leaf l left join audit_private p using (tenant_id, event_id)
     where l.leaf_index >= $1 + ${firstLeaf} order by l.leaf_index limit $2`,
    [from, limit],
  )
}

/** The index of the count-th leaf below an index. Indexes here count from the first epoch's first leaf. */
export function findLeafBefore(
  tx: ReadTx,
  below: number,
  count: number,
): Promise<{ index: number } | undefined> {
  return tx.maybe(
    `select leaf_index as index from audit_leaf where leaf_index < $1
     order by leaf_index desc offset $2 limit 1`,
    [below, count - 1],
  )
}

/** Leaves of any epoch, from one index up to another. */
export function listLeavesAt(
  tx: ReadTx,
  from: number,
  below: number,
  limit: number,
): Promise<{ index: number; leaf: Buffer }[]> {
  return tx.many(
    `select leaf_index as index, leaf from audit_leaf
     where leaf_index >= $1 and leaf_index < $2 order by leaf_index limit $3`,
    [from, below, limit],
  )
}

/** The leaves of events, of any epoch. */
export function listLeavesOf(
  tx: ReadTx,
  ids: readonly string[],
): Promise<{ id: string; index: number; leaf: Buffer }[]> {
  return tx.many(
    `select event_id as id, ${held('leaf_index')} as index, leaf from audit_leaf
     where event_id = any ($1::uuid[])`,
    [ids],
  )
}

/** Whether there is a leaf below the first leaf of the first epoch. */
export function hasLeafBelowZero(tx: ReadTx): Promise<{ found: boolean }> {
  return tx.one('select coalesce(min(leaf_index) < 0, false) as found from audit_leaf')
}

/**
 * Every leaf of the log's epoch, in order and once, whatever its index: also a leaf with the index
 * of another, or with an index larger than any log.
 */
export async function* eachLeaf(tx: ReadTx, batch: number): AsyncGenerator<LeafRow> {
  await tx.many(
    `declare each_leaf no scroll cursor for
     select ${leafColumns}
     from audit_leaf l left join audit_private p using (tenant_id, event_id)
     where l.leaf_index >= ${firstLeaf} order by l.leaf_index`,
  )
  for (;;) {
    const rows = await tx.many<LeafRow>(`fetch ${batch} from each_leaf`)
    yield* rows
    if (rows.length < batch) return
  }
}

/**
 * Whether a leaf with an id from this one on has each of these texts in it. Reads those leaves: for what
 * happens rarely.
 */
export async function hasLeafWith(
  tx: ReadTx,
  from: string,
  texts: readonly [string, string],
): Promise<boolean> {
  const { found } = await tx.one<{ found: boolean }>(
    `select exists (select from audit_leaf
       where event_id >= $1 and position($2::bytea in leaf) > 0
         and position($3::bytea in leaf) > 0) as found`,
    [from, ...texts.map((text) => Buffer.from(text))],
  )
  return found
}

export function listLeafBytes(
  tx: ReadTx,
  from: number,
  limit: number,
): Promise<{ index: number; leaf: Buffer }[]> {
  return tx.many(
    `select ${held('leaf_index')} - ${firstLeaf} as index, leaf from audit_leaf
     where leaf_index >= $1 + ${firstLeaf} order by leaf_index limit $2`,
    [from, limit],
  )
}

const countMax = 20_000

/**
 * The number of private payloads without a leaf. Reads them in batches, because a log may be long.
 * Payloads before the first event of the log's epoch belong to a former one: ids are in the order
 * of time.
 */
export async function countStrayPayloads(tx: ReadTx): Promise<number> {
  let strays = 0
  const first = await tx.maybe<{ id: string }>(
    `select event_id as id from audit_leaf
     where leaf_index = ${firstLeaf} and leaf_index > 0`,
  )
  for (let after = first?.id ?? '00000000-0000-0000-0000-000000000000'; ; ) {
    const part = await tx.one<{ strays: number; last: string | null; read: number }>(
      `with part as materialized (
         select event_id from audit_private where event_id > $1 order by event_id limit ${countMax}),
       last as materialized (select event_id from part order by event_id desc limit 1),
       -- Between the same two ids, so that no more of the log is read than of the payloads.
       leaf as materialized (select event_id from audit_leaf
         where event_id > $1 and event_id <= (select event_id from last))
       select count(*) filter (where leaf.event_id is null) as strays, count(*) as read,
         (select event_id from last) as last
       from part left join leaf using (event_id)`,
      [after],
    )
    strays += part.strays
    if (part.last === null || part.read < countMax) return strays
    after = part.last
  }
}

export interface CheckpointRow extends CompactRange {
  readonly note: string
}

/** Hashes that are none are not read, however long they are: without them, a checkpoint is none of ours. */
const checkpointColumns = `${held('size')} - ${firstLeaf} as size, note,
  case when cardinality(hashes) > 63
      or exists (select from unnest(hashes) one where octet_length(one) is distinct from 32)
    then '{}' else hashes end as hashes`

/** Checkpoints from the largest one down, or from below a size. */
export function listCheckpointsDown(
  tx: ReadTx,
  below: number | undefined,
  limit: number,
): Promise<CheckpointRow[]> {
  return tx.many(
    `select ${checkpointColumns} from audit_checkpoint
     where size > ${firstLeaf} and ($1::bigint is null or size < $1 + ${firstLeaf})
     order by audit_checkpoint.size desc limit $2`,
    [below ?? null, limit],
  )
}

/** Checkpoints in order of size, from the one after a size on. */
export function listCheckpoints(
  tx: ReadTx,
  after: number,
  limit: number,
): Promise<CheckpointRow[]> {
  return tx.many(
    `select ${checkpointColumns} from audit_checkpoint
     where size > $1 + ${firstLeaf} order by audit_checkpoint.size limit $2`,
    [after, limit],
  )
}

/**
 * Resolves when all commits that this connection can see are on the server's disk, and on the disk of each
 * standby that commits wait for. Ends the transaction.
 *
 * A transaction becomes visible when its commit is in the write-ahead log. With `synchronous_commit = off`
 * that is before the commit is on disk. That log is one sequence, written from its start: this commit comes
 * after the others, and waits for the disk. A commit without a record of its own would not wait, so it
 * leaves a message in the log that nothing reads.
 */
export async function waitForDisk(tx: WriteTx): Promise<void> {
  await tx.last().one(
    `select set_config('synchronous_commit', 'on', true),
         pg_logical_emit_message(true, 'vaultterm', ''::text)`,
  )
}

/**
 * Another node may have published a checkpoint of the same size: the log is one, and so is its
 * note.
 */
export async function insertCheckpoint(
  tx: WriteTx,
  { size, hashes, note }: CheckpointRow,
): Promise<void> {
  await tx.one('select audit_publish($1, $2, $3)', [size, hashes, note])
}

/**
 * Logs with leaves that no checkpoint covers yet, the one that waits longest first. Needs the system
 * role: see the policy `heads`.
 */
export function listUnsigned(
  tx: ReadTx,
  except: readonly string[],
  limit: number,
): Promise<{ tenant: string }[]> {
  return tx.many(
    `select tenant_id as tenant from audit_unsigned
     where tenant_id <> all ($1::uuid[]) order by since limit $2`,
    [except, limit],
  )
}
