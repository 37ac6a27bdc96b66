import type { ReadTx } from '../postgres/index.ts'
import { continueLog } from './continuation.ts'
import { LogInconsistent } from './errors.ts'
import { decodeLeaf, type Leaf } from './event.ts'
import type { VerifierKey } from './note.ts'
import type { SignedHead } from './signed-heads.ts'

/** A leaf whose very bytes were found in the log. */
export interface ProvenLeaf extends Pick<Leaf, 'type' | 'public'> {
  readonly index: number
  /** Whether a signed head commits to it. Where none does yet, the stored head vouches for it alone. */
  readonly isSigned: boolean
}

/**
 * Reads the whole log from its first leaf, meets each known signed head on the way, and gives all leaves
 * that have each of these texts in them, in order. None can be missing: only who has seen the whole log
 * knows that a fact stands in it once.
 *
 * Throws LogInconsistent where a head is not met. Give it a transaction with one snapshot.
 */
export async function proveLeaves(
  tx: ReadTx,
  key: (origin: string) => VerifierKey,
  remembered: SignedHead | undefined,
  texts: readonly string[],
): Promise<readonly ProvenLeaf[]> {
  const needles = texts.map((text) => Buffer.from(text))
  const found: { index: number; bytes: Buffer }[] = []
  const { tree, last } = await continueLog(tx, key, remembered, (index, bytes) => {
    if (needles.every((needle) => bytes.includes(needle))) found.push({ index, bytes })
  })
  const signedSize = Math.max(last?.size ?? 0, remembered?.size ?? 0)
  return found.map(({ index, bytes }) => {
    // These very bytes: a second read of the same row may get others.
    const leaf = decodeLeaf(bytes)
    if (leaf?.log !== tree.origin) {
      throw new LogInconsistent(tree.origin, 'rewritten', `leaf ${index} is not one of this log`)
    }
    return { type: leaf.type, public: leaf.public, index, isSigned: index < signedSize }
  })
}
