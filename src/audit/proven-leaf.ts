import type { ReadTx } from '../postgres/index.ts'
import {
  extend,
  findFirstSigned,
  findLastSigned,
  headProblem,
  isSame,
  noteProblem,
} from './continuation.ts'
import { type Contradiction, LogInconsistent } from './errors.ts'
import { decodeLeaf, type Leaf } from './event.ts'
import { emptyTree } from './merkle.ts'
import type { VerifierKey } from './note.ts'
import { readTree } from './queries.ts'
import type { SignedHead } from './signed-heads.ts'

/** A leaf whose very bytes were found in the log. */
export interface ProvenLeaf extends Pick<Leaf, 'type' | 'public'> {
  /** Whether a signed head commits to it. Where none does yet, the stored head vouches for it alone. */
  readonly isSigned: boolean
}

/**
 * Proves one leaf without a look at the whole log: reads from the last signed head before it to the first
 * one behind it, and both must be met. A checkpoint that our key did not sign is passed over: it says
 * nothing about the log.
 *
 * Throws LogInconsistent where one is not. Give it a transaction with one snapshot.
 */
export async function proveLeaf(
  tx: ReadTx,
  key: (origin: string) => VerifierKey,
  remembered: SignedHead | undefined,
  index: number,
): Promise<ProvenLeaf> {
  const tree = await readTree(tx)
  const { origin } = tree
  const fail = (contradiction: Contradiction, reason: string): never => {
    throw new LogInconsistent(origin, contradiction, reason)
  }
  const { last: before } = await findLastSigned(tx, origin, key(origin), index + 1)
  const after = await findFirstSigned(tx, origin, key(origin), index)
  for (const row of [before, after]) {
    const problem = row && noteProblem(row, origin, key(origin))
    if (problem !== undefined) fail('checkpoint', `a checkpoint is invalid: ${problem}`)
  }
  const problem = remembered && headProblem(remembered, origin, key(origin))
  if (problem !== undefined) fail('replaced', problem)
  const signed = [after, remembered]
    .filter((head) => head !== undefined && head.size > index)
    .toSorted((a, b) => (a?.size ?? 0) - (b?.size ?? 0))[0]
  const end = signed ?? tree
  let bytes: Buffer | undefined
  const reached = await extend(tx, before ?? emptyTree, end.size, (at, leaf) => {
    if (at === index) bytes = leaf
  })
  // These very bytes: a second read of the same row may get others.
  const leaf = bytes && decodeLeaf(bytes)
  if (reached.size !== end.size || !isSame(reached, end) || leaf?.log !== origin) {
    const reason = `event ${index} or one near it is not the one that was put there`
    return fail(signed === undefined ? 'head' : 'rewritten', reason)
  }
  return { type: leaf.type, public: leaf.public, isSigned: signed !== undefined }
}
