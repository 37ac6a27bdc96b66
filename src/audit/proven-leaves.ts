import type { ReadTx } from '../postgres/index.ts'
import { continueLog } from './continuation.ts'
import { decodeLeaf, type Leaf } from './event.ts'
import type { VerifierKey } from './note.ts'
import type { SignedHead } from './signed-heads.ts'

/** A leaf whose very bytes were found in the log. */
export interface ProvenLeaf extends Pick<Leaf, 'type' | 'public'> {
  readonly index: number
  /** Whether a signed head commits to it. Where none does yet, the stored head vouches for it alone. */
  readonly isSigned: boolean
}

export interface ProvenLeaves {
  /** In order. */
  readonly leaves: readonly ProvenLeaf[]
  /** The indexes of those that are no leaf of this log: a fault of the log, which says nothing of others. */
  readonly foreign: readonly number[]
}

/**
 * Reads the whole log from its first leaf, meets each known signed head on the way, and gives all leaves
 * whose bytes are wanted. None can be missing: only who has seen the whole log knows that a fact stands in
 * it once.
 *
 * Throws LogInconsistent where a head is not met. Give it a transaction with one snapshot.
 */
export async function proveLeaves(
  tx: ReadTx,
  key: (origin: string) => VerifierKey,
  remembered: SignedHead | undefined,
  isWanted: (leaf: Buffer) => boolean,
): Promise<ProvenLeaves> {
  const found: { index: number; bytes: Buffer }[] = []
  const see = (index: number, bytes: Buffer) => {
    if (isWanted(bytes)) found.push({ index, bytes })
  }
  const { tree, last } = await continueLog(tx, key, remembered, { see, whole: true })
  const signedSize = Math.max(last?.size ?? 0, remembered?.size ?? 0)
  const leaves: ProvenLeaf[] = []
  const foreign: number[] = []
  for (const { index, bytes } of found) {
    // These very bytes: a second read of the same row may get others.
    const leaf = decodeLeaf(bytes)
    if (leaf?.log !== tree.origin) foreign.push(index)
    else leaves.push({ type: leaf.type, public: leaf.public, index, isSigned: index < signedSize })
  }
  return { leaves, foreign }
}
