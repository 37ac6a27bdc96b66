/** The logs that were given up and stand before a new epoch. */

import type { ReadTx } from '../postgres/index.ts'
import { decodeLeaf } from './event.ts'
import { appendLeaf, type CompactRange, emptyTree, rootHash } from './merkle.ts'
import { findLeafBefore, listLeafBytes, listLeavesAt, type Tree } from './queries.ts'

/** What the first leaf of an epoch says of the log before it. */
interface FormerEpoch {
  readonly origin: string
  /** How many of its leaves the root is of, and how many there were. */
  readonly size: number
  readonly leaves: number
  /** In hexadecimal. */
  readonly root: string
}

export interface FormerReport {
  /** How many leaves of former epochs are those that were given up. */
  readonly verified: number
  readonly problem: { readonly at: number; readonly detail: string } | undefined
}

const batchMax = 1000

/**
 * Compares the leaves of former epochs with what they were when each was given up, from the newest epoch
 * back: the first leaf of the next epoch says their number and their root, and that leaf is verified with
 * its own epoch. If it does not say so, the leaves before it are a problem, because nothing vouches for them.
 *
 * Payloads are not checked, nor the faults that the log had at that time. Leaves that came while a log was
 * given up stand behind those that the root covers: nothing vouches for these either.
 */
export async function verifyFormerEpochs(tx: ReadTx, tree: Tree): Promise<FormerReport> {
  let below = tree.firstLeaf
  let verified = 0
  let [first] = await listLeafBytes(tx, 0, 1)
  while (below > 0) {
    const former = first && readFormer(first.leaf)
    if (former === undefined || former.size === 0) {
      // The oldest epoch has no such record. An epoch that lost all its leaves has no root. Nothing may stand
      // before either of them. An unreadable first leaf proves nothing: it may have been such a record.
      const isCurrent = below === tree.firstLeaf
      const isRead = first !== undefined && decodeLeaf(first.leaf) !== undefined
      const isOldest = former !== undefined || (isRead && !isCurrent)
      if (isOldest && (await findLeafBefore(tx, below, 1)) === undefined) break
      const detail = `nothing says which events stand before event ${below}, and whether they are those that were given up`
      return { verified, problem: { at: below, detail } }
    }
    const start = await findLeafBefore(tx, below, former.leaves)
    const found = start && (await readRange(tx, start.index, below, former.size))
    if (found === undefined || rootHash(found.range).toString('hex') !== former.root) {
      const detail = `the ${former.size} events of the former log ${former.origin} are not those that were given up`
      return { verified, problem: { at: start?.index ?? 0, detail } }
    }
    verified += former.size
    below = found.index
    first = { index: 0, leaf: found.first }
  }
  return { verified, problem: undefined }
}

/** Whether the log says that it took the place of one that an operator gave up. */
export async function beginsAfterFormer(tx: ReadTx): Promise<boolean> {
  const [first] = await listLeafBytes(tx, 0, 1)
  return first !== undefined && first.index === 0 && readFormer(first.leaf) !== undefined
}

function readFormer(bytes: Buffer): FormerEpoch | undefined {
  const leaf = decodeLeaf(bytes)
  if (leaf?.type !== 'audit.repaired' || leaf.public.repair !== 'epoch') return undefined
  const { formerOrigin: origin, formerSize, formerLeaves = formerSize, root } = leaf.public
  const [size, leaves] = [Number(formerSize), Number(formerLeaves)]
  if (typeof origin !== 'string' || typeof root !== 'string') return undefined
  if (!Number.isSafeInteger(size) || !Number.isSafeInteger(leaves)) return undefined
  return size >= 0 && size <= leaves ? { origin, size, leaves, root } : undefined
}

/** The range of so many leaves from an index on, with the first one; undefined where there are fewer. */
async function readRange(
  tx: ReadTx,
  index: number,
  below: number,
  size: number,
): Promise<{ index: number; first: Buffer; range: CompactRange } | undefined> {
  let first: Buffer | undefined
  let range: CompactRange = emptyTree
  for (let from = index; range.size < size; ) {
    const rows = await listLeavesAt(tx, from, below, Math.min(batchMax, size - range.size))
    for (const { leaf } of rows) {
      first ??= leaf
      range = appendLeaf(range, leaf)
    }
    const last = rows.at(-1)
    if (last === undefined) return undefined
    from = last.index + 1
  }
  return first && { index, first, range }
}
