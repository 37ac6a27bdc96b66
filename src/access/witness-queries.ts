/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { KeptWitness, SessionId } from '../recorder/index.ts'

/** The stored witness of one recording, and the time since its last point. */
export interface WitnessEntry {
  readonly session: SessionId
  readonly kept: KeptWitness
  readonly agoMs: number
}

/**
 * Stores witnesses of live sessions, or also of those that ended by their row. A witness that covers
 * less than the stored one changes nothing.
 */
export function keepWitnesses(
  tx: WriteTx,
  entries: readonly WitnessEntry[],
  { alsoEnded = false } = {},
): Promise<number> {
  return tx.run(
    `insert into recording_witness (session_id, at, bytes, offsets, chain)
       select w.session, now() - w.ago * interval '1 ms', w.bytes, w.offsets, w.chain
       from unnest($1::uuid[], $2::float8[], $3::bigint[], $4::bytea[], $5::bytea[])
         as w(session, ago, bytes, offsets, chain)
       join session s on s.id = w.session and (s.ended_at is null or $6)
     on conflict (tenant_id, session_id) do update
       set at = excluded.at, bytes = excluded.bytes, offsets = excluded.offsets,
         chain = excluded.chain
       where excluded.bytes > recording_witness.bytes`,
    [
      entries.map(({ session }) => session),
      entries.map(({ agoMs }) => agoMs),
      entries.map(({ kept }) => kept.bytes),
      entries.map(({ kept }) => kept.offsets),
      entries.map(({ kept }) => Buffer.from(kept.chain, 'hex')),
      alsoEnded,
    ],
  )
}

/** With when its last point was told. */
export async function findWitness(
  tx: ReadTx,
  session: SessionId,
): Promise<{ readonly kept: KeptWitness; readonly at: Date } | undefined> {
  const row = await tx.maybe<{ at: Date; bytes: number; offsets: Buffer; chain: Buffer }>(
    'select at, bytes, offsets, chain from recording_witness where session_id = $1',
    [session],
  )
  if (row === undefined) return undefined
  const { at, bytes, offsets, chain } = row
  return { at, kept: { bytes, offsets, chain: chain.toString('hex') } }
}
