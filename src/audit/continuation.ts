/** Whether a stored log continues its signed head. */

import type { ReadTx } from '../postgres/index.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { type Contradiction, LogInconsistent, NoteInvalid } from './errors.ts'
import { appendLeaf, type CompactRange, emptyTree, isCompactRange, rootHash } from './merkle.ts'
import { parseNote, type VerifierKey, verifyNote } from './note.ts'
import {
  type CheckpointRow,
  findLastCheckpoint,
  findTree,
  listLeafBytes,
  type Tree,
} from './queries.ts'
import { noteOf, type SignedHead } from './signed-heads.ts'

const batchMax = 1000

/** A stored log, and its last checkpoint. */
export interface Continuation {
  readonly tree: Tree
  readonly last: CheckpointRow | undefined
}

/**
 * Recomputes the tree from the stored bytes of the leaves after the smallest known signed head: the
 * last checkpoint in the database, or the one that is remembered outside of it. Each of these heads
 * must be met on the way, and the stored tree at the end.
 *
 * Throws LogInconsistent where one is not. Leaves before the smallest head are not read: verifyLog does
 * that. Give it a transaction with one snapshot.
 */
export async function continueLog(
  tx: ReadTx,
  key: (origin: string) => VerifierKey,
  remembered: SignedHead | undefined,
): Promise<Continuation> {
  const tree = await findTree(tx)
  if (tree === undefined) {
    const reason = `its head is gone, and ${remembered?.size ?? 'none'} of its leaves were signed`
    throw new LogInconsistent(remembered?.origin ?? 'of this tenant', 'rolled-back', reason)
  }
  const last = await findLastCheckpoint(tx)
  const fail = (contradiction: Contradiction, reason: string): never => {
    throw new LogInconsistent(tree.origin, contradiction, reason)
  }
  if (last !== undefined) {
    const problem = noteProblem(last, tree.origin, key(tree.origin))
    if (problem !== undefined) fail('checkpoint', `its last checkpoint is invalid: ${problem}`)
  }
  if (remembered !== undefined) {
    const problem = headProblem(remembered, tree.origin, key(tree.origin))
    if (problem !== undefined) fail('replaced', problem)
  }
  const heads = [last, remembered]
    .filter((head) => head !== undefined)
    .toSorted((a, b) => a.size - b.size)
  const largest = heads.at(-1)
  if (largest !== undefined && largest.size > tree.size) {
    fail('rolled-back', `it has ${tree.size} leaves, and ${largest.size} of them were signed`)
  }
  let range: CompactRange = heads[0] ?? emptyTree
  for (const head of [...heads, tree]) {
    const reached = await extend(tx, range, head.size)
    range = reached
    if (reached.size === head.size && isSame(reached, head)) continue
    if (reached.size < head.size) fail('rolled-back', `leaf ${reached.size} is missing`)
    if (head === tree) fail('head', 'its stored head is not that of its leaves')
    fail('rewritten', `its first ${head.size} leaves are not those that were signed`)
  }
  return { tree, last }
}

/** The range with the stored leaves up to a size, each shown to `see`; shorter where one is missing. */
export async function extend(
  tx: ReadTx,
  start: CompactRange,
  size: number,
  see?: (index: number, leaf: Buffer) => void,
): Promise<CompactRange> {
  let range = start
  while (range.size < size) {
    const rows = await listLeafBytes(tx, range.size, Math.min(batchMax, size - range.size))
    for (const { index, leaf } of rows) {
      if (index !== range.size) return range
      see?.(index, leaf)
      range = appendLeaf(range, leaf)
    }
    if (rows.length === 0) return range
  }
  return range
}

export function isSame(range: CompactRange, head: CompactRange): boolean {
  return isCompactRange(head) && rootHash(range).equals(rootHash(head))
}

/**
 * Why a stored checkpoint is not one that our key signed for this log; undefined when it is. The signed
 * text counts, and the columns beside it must agree.
 */
export function noteProblem(
  row: CheckpointRow,
  origin: string,
  key: VerifierKey,
): string | undefined {
  try {
    const note = parseNote(row.note)
    const checkpoint = parseCheckpoint(note.text)
    // First, because the key's name is that of the log.
    if (checkpoint.origin !== origin) return 'it is of another log'
    if (verifyNote(note, [key]).length !== 1) return 'our key did not sign it'
    if (checkpoint.size !== row.size) return 'it is filed under another size'
    if (!isCompactRange(row) || !rootHash(row).equals(checkpoint.root))
      return 'its range has another root'
    return undefined
  } catch (err) {
    if (err instanceof NoteInvalid) return err.message
    throw err
  }
}

/** The reason why a signed head cannot be one of this log; undefined when it can. */
export function headProblem(
  head: SignedHead,
  origin: string,
  key: VerifierKey,
): string | undefined {
  if (head.origin !== origin) return `the log that was signed is ${head.origin}`
  const problem = noteProblem({ ...head, note: noteOf(head) }, origin, key)
  return problem === undefined
    ? undefined
    : `the head of ${head.size} leaves that was signed is not by our key`
}
