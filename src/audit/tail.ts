import type { ReadTx } from '../postgres/index.ts'
import type { Canonical } from './canonical.ts'
import { decodeLeaf, decodePrivate } from './event.ts'
import { type LeafRow, listLeaves, readTree } from './queries.ts'

/** A readable event. verify() says whether it can be trusted. */
export interface AuditEntry {
  readonly index: number
  readonly id: string
  readonly at: string
  readonly type: string
  readonly public: { readonly [key: string]: Canonical }
  readonly private: { readonly [key: string]: Canonical }
}

const entriesMax = 1000

export async function listEntries(
  tx: ReadTx,
  { after, limit }: { readonly after?: number; readonly limit: number },
): Promise<AuditEntry[]> {
  const wanted = Math.max(0, Math.min(limit, entriesMax))
  const from = after === undefined ? (await readTree(tx)).size - wanted : after + 1
  return (await listLeaves(tx, Math.max(0, from), wanted)).map(entry)
}

/**
 * A leaf that cannot be decoded is still listed: hiding it would help an attacker who changed it.
 */
function entry({ index, eventId, leaf, payload }: LeafRow): AuditEntry {
  const decoded = decodeLeaf(leaf)
  return {
    index,
    id: eventId,
    at: decoded?.at ?? '',
    type: decoded?.type ?? 'malformed',
    public: decoded?.public ?? {},
    private: (payload && decodePrivate(payload)) ?? {},
  }
}
