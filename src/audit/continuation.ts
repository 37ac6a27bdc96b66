/** Whether a stored log continues its signed head. */

import type { ReadTx } from '../postgres/index.ts'
import { type Checkpoint, parseCheckpoint } from './checkpoint.ts'
import { type Contradiction, LogInconsistent, NoteInvalid } from './errors.ts'
import { appendLeaf, type CompactRange, emptyTree, isCompactRange, rootHash } from './merkle.ts'
import { parseNote, type VerifierKey, verifyNote } from './note.ts'
import {
  type CheckpointRow,
  findTree,
  listCheckpointsDown,
  listLeafBytes,
  type Tree,
} from './queries.ts'
import { noteOf, type SignedHead } from './signed-heads.ts'

const batchMax = 1000
const notesMax = 100

/** A stored log, and its last checkpoint. */
export interface Continuation {
  readonly tree: Tree
  /** The last checkpoint with a note by our key. */
  readonly last: CheckpointRow | undefined
  /**
   * The sizes of the checkpoints above it, largest first. Our key signed none of their notes. Anybody who
   * has the application's login of the database can write one.
   */
  readonly forged: readonly number[]
}

export type SeeLeaf = (index: number, leaf: Buffer, origin: string) => void

interface ReadOptions {
  readonly see?: SeeLeaf
  readonly whole?: boolean
  /** One more signed head that is to be met, if it is of this log: leaves are read from there on. */
  readonly from?: (CompactRange & { readonly origin: string }) | undefined
}

/**
 * Recomputes the tree from the stored bytes of the leaves after the smallest known signed head: the
 * last checkpoint in the database, or the one that is remembered outside of it. Each of these heads
 * must be met on the way, and the stored tree at the end.
 *
 * Throws LogInconsistent where one is not. Leaves before the smallest head are not read: verifyLog does
 * that. A note that our key did not sign says nothing about the log, so it stops nothing: it is only
 * counted. Give it a transaction with one snapshot.
 *
 * Each leaf that it reads is shown to `see`; `whole` makes it read all of them, from the first one.
 */
export async function continueLog(
  tx: ReadTx,
  key: (origin: string) => VerifierKey,
  remembered: SignedHead | undefined,
  { see, whole = false, from }: ReadOptions = {},
): Promise<Continuation> {
  const tree = await findTree(tx)
  if (tree === undefined) {
    const reason = `its head is gone, and ${remembered?.size ?? 'none'} of its leaves were signed`
    throw new LogInconsistent(remembered?.origin ?? 'of this tenant', 'rolled-back', reason)
  }
  const { last, forged } = await findLastSigned(tx, tree.origin, key(tree.origin))
  const fail = (contradiction: Contradiction, reason: string): never => {
    throw new LogInconsistent(tree.origin, contradiction, reason)
  }
  const [largestForged = 0] = forged
  if (largestForged > tree.size) {
    // The door takes no such note: it was put there by a superuser, or the log was set back.
    fail('checkpoint', `its last checkpoint is invalid: it is beyond the log and not signed by us`)
  }
  if (last !== undefined) {
    const problem = noteProblem(last, tree.origin, key(tree.origin))
    if (problem !== undefined) fail('checkpoint', `its last checkpoint is invalid: ${problem}`)
  }
  if (remembered !== undefined) {
    const problem = headProblem(remembered, tree.origin, key(tree.origin))
    if (problem !== undefined) fail('replaced', problem)
  }
  const heads = [last, remembered, from?.origin === tree.origin ? from : undefined]
    .filter((head) => head !== undefined)
    .toSorted((a, b) => a.size - b.size)
  const largest = heads.at(-1)
  if (largest !== undefined && largest.size > tree.size) {
    fail('rolled-back', `it has ${tree.size} leaves, and ${largest.size} of them were signed`)
  }
  let range: CompactRange = (whole ? undefined : heads[0]) ?? emptyTree
  for (const head of [...heads, tree]) {
    const reached = await extend(tx, range, head.size, (index, leaf) =>
      see?.(index, leaf, tree.origin),
    )
    range = reached
    if (reached.size === head.size && isSame(reached, head)) continue
    if (reached.size < head.size) fail('rolled-back', `leaf ${reached.size} is missing`)
    if (head === tree) fail('head', 'its stored head is not that of its leaves')
    fail('rewritten', `its first ${head.size} leaves are not those that were signed`)
  }
  return { tree, last, forged }
}

/** Goes down from the largest checkpoint, or from below a size, to the first one that our key signed. */
export async function findLastSigned(
  tx: ReadTx,
  origin: string,
  key: VerifierKey,
  belowSize?: number,
): Promise<Pick<Continuation, 'last' | 'forged'>> {
  const forged: number[] = []
  for (let below = belowSize; ; below = forged.at(-1)) {
    // The first one nearly always is ours.
    const rows = await listCheckpointsDown(tx, below, forged.length === 0 ? 1 : notesMax)
    for (const row of rows) {
      if ('checkpoint' in openNote(row.note, origin, key)) return { last: row, forged }
      forged.push(row.size)
    }
    if (rows.length === 0) return { last: undefined, forged }
  }
}

/** The range with the stored leaves up to a size, each shown to `see`; shorter where one is missing. */
async function extend(
  tx: ReadTx,
  start: CompactRange,
  size: number,
  see: (index: number, leaf: Buffer) => void,
): Promise<CompactRange> {
  let range = start
  while (range.size < size) {
    const rows = await listLeafBytes(tx, range.size, Math.min(batchMax, size - range.size))
    for (const { index, leaf } of rows) {
      if (index !== range.size) return range
      see(index, leaf)
      range = appendLeaf(range, leaf)
    }
    if (rows.length === 0) return range
  }
  return range
}

function isSame(range: CompactRange, head: CompactRange): boolean {
  return isCompactRange(head) && rootHash(range).equals(rootHash(head))
}

/** Opens a note; or says why it is none that our key signed for this log, and so no evidence of anything. */
export function openNote(
  text: string,
  origin: string,
  key: VerifierKey,
): { readonly checkpoint: Checkpoint } | { readonly problem: string } {
  try {
    const note = parseNote(text)
    const checkpoint = parseCheckpoint(note.text)
    // First, because the key's name is that of the log.
    if (checkpoint.origin !== origin) return { problem: 'it is of another log' }
    if (verifyNote(note, [key]).length !== 1) return { problem: 'our key did not sign it' }
    return { checkpoint }
  } catch (err) {
    if (err instanceof NoteInvalid) return { problem: err.message }
    throw err
  }
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
  const opened = openNote(row.note, origin, key)
  if ('problem' in opened) return opened.problem
  const { size, root } = opened.checkpoint
  if (size !== row.size) return 'it is filed under another size'
  if (!isCompactRange(row) || !rootHash(row).equals(root)) return 'its range has another root'
  return undefined
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
