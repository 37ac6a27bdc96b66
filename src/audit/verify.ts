import type { ReadTx } from '../postgres/index.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { NoteInvalid } from './errors.ts'
import { commit, decodeLeaf, decodePrivate } from './event.ts'
import {
  appendLeafHash,
  type CompactRange,
  emptyTree,
  isCompactRange,
  leafHash,
  rootHash,
} from './merkle.ts'
import { parseNote, type VerifierKey, verifyNote } from './note.ts'
import {
  type CheckpointRow,
  countRows,
  type LeafRow,
  listCheckpoints,
  listLeaves,
  readTree,
  type Tree,
} from './queries.ts'

/** What is wrong at one place. */
export type FaultKind =
  /** There is no leaf at this index, though the tree counts it. */
  | 'leaf-missing'
  /** A leaf stands beyond the end of the tree. */
  | 'leaf-beyond-tree'
  /** The bytes are not those that were appended. */
  | 'leaf-changed'
  /** The bytes are no leaf in canonical form. */
  | 'leaf-malformed'
  /** The leaf is of another log, or filed under another event's id. */
  | 'leaf-misplaced'
  | 'private-missing'
  | 'private-changed'
  /** There is a private payload that no leaf commits to. */
  | 'private-unexpected'
  /** The note does not parse, is of another log, or our key did not sign it. */
  | 'checkpoint-signature'
  /** The leaves up to a checkpoint are not those that were signed. */
  | 'checkpoint-root'
  /** A checkpoint was signed for more leaves than there are. */
  | 'checkpoint-beyond-tree'
  /** The stored tree is not that of the leaves. */
  | 'tree-changed'

export interface Fault {
  readonly kind: FaultKind
  /** The leaf's index; for a checkpoint and the tree, the number of leaves. */
  readonly at: number
  /** The fault lies at this leaf or after it, and before `at`. */
  readonly from?: number
  readonly detail?: string
}

export interface VerifyReport {
  readonly ok: boolean
  readonly origin: string
  readonly size: number
  /** Of the leaves as they are stored, in hexadecimal. */
  readonly root: string
  readonly checkpoints: number
  /** How many of the leaves a signed checkpoint commits to. The rest only the tree vouches for. */
  readonly signedSize: number
  /** The first faults, in order; faultsTotal counts them all. */
  readonly faults: readonly Fault[]
  readonly faultsTotal: number
}

const batchMax = 500
const faultsMax = 100

/**
 * Recomputes everything that can be recomputed, in the order of the leaves and without holding
 * more than a batch of them. Give it a transaction with one snapshot.
 *
 * What it cannot see: leaves taken off the end that no checkpoint had covered yet, by somebody who
 * set the tree back as well.
 */
export async function verifyLog(
  tx: ReadTx,
  key: (origin: string) => VerifierKey,
): Promise<VerifyReport> {
  const tree = await readTree(tx)
  const check = new LogCheck(tx, tree, key(tree.origin))
  return check.run()
}

class LogCheck {
  readonly #tx: ReadTx
  readonly #tree: Tree
  readonly #key: VerifierKey
  readonly #faults: Fault[] = []
  #faultsTotal = 0
  #range: CompactRange = emptyTree
  /** Where the next leaf should stand. Where leaves are missing it runs ahead of the range. */
  #next = 0
  #commitments = 0
  #signedSize = 0
  #checkpoints = 0
  /** The last head at which everything before it was as it had been signed. */
  #soundSize = 0

  constructor(tx: ReadTx, tree: Tree, key: VerifierKey) {
    this.#tx = tx
    this.#tree = tree
    this.#key = key
  }

  async run(): Promise<VerifyReport> {
    const checkpoints = this.#eachCheckpoint()
    let next = await checkpoints.next()
    for await (const row of this.#eachLeaf()) {
      this.#leaf(row)
      while (next.value !== undefined && next.value.size <= this.#next) {
        this.#checkpoint(next.value)
        next = await checkpoints.next()
      }
    }
    for (; next.value !== undefined; next = await checkpoints.next()) {
      this.#checkpoint(next.value)
    }
    await this.#end()
    return {
      ok: this.#faultsTotal === 0,
      origin: this.#tree.origin,
      size: this.#range.size,
      root: rootHash(this.#range).toString('hex'),
      checkpoints: this.#checkpoints,
      signedSize: this.#signedSize,
      faults: this.#faults,
      faultsTotal: this.#faultsTotal,
    }
  }

  async *#eachLeaf(): AsyncGenerator<LeafRow> {
    for (let from = 0; ; ) {
      const rows = await listLeaves(this.#tx, from, batchMax)
      yield* rows
      const last = rows.at(-1)
      if (last === undefined) return
      from = last.index + 1
    }
  }

  async *#eachCheckpoint(): AsyncGenerator<CheckpointRow, undefined> {
    for (let after = -1; ; ) {
      const rows = await listCheckpoints(this.#tx, after, batchMax)
      yield* rows
      const last = rows.at(-1)
      if (last === undefined) return undefined
      after = last.size
    }
  }

  #leaf(row: LeafRow): void {
    const { index } = row
    if (index >= this.#tree.size) this.#fault({ kind: 'leaf-beyond-tree', at: index })
    if (index > this.#next) this.#fault({ kind: 'leaf-missing', at: this.#next })
    if (index < this.#next) this.#fault({ kind: 'leaf-misplaced', at: index })
    this.#next = index + 1
    const hash = leafHash(row.leaf)
    if (!hash.equals(row.leafHash)) this.#fault({ kind: 'leaf-changed', at: index })
    const leaf = decodeLeaf(row.leaf)
    if (leaf === undefined) {
      this.#fault({ kind: 'leaf-malformed', at: index })
    } else {
      if (leaf.log !== this.#tree.origin || leaf.id !== row.eventId) {
        this.#fault({ kind: 'leaf-misplaced', at: index })
      }
      this.#private(row, leaf.id, leaf.commitment)
    }
    this.#range = appendLeafHash(this.#range, hash)
  }

  #private({ index, salt, payload }: LeafRow, id: string, commitment: Buffer | undefined): void {
    if (commitment === undefined) {
      if (salt !== null) this.#fault({ kind: 'private-unexpected', at: index })
      return
    }
    this.#commitments += 1
    if (salt === null || payload === null) this.#fault({ kind: 'private-missing', at: index })
    else if (
      salt.length !== 32 ||
      decodePrivate(payload) === undefined ||
      !commit(id, salt, payload).equals(commitment)
    ) {
      this.#fault({ kind: 'private-changed', at: index })
    }
  }

  #checkpoint(row: CheckpointRow): void {
    this.#checkpoints += 1
    const problem = this.#signatureProblem(row)
    if (problem !== undefined) {
      this.#fault({ kind: 'checkpoint-signature', at: row.size, detail: problem })
    } else if (row.size > this.#next) {
      this.#fault({ kind: 'checkpoint-beyond-tree', at: row.size, from: this.#next })
    } else if (!this.#isHead(row)) {
      this.#fault({ kind: 'checkpoint-root', at: row.size, from: this.#soundSize })
    } else {
      this.#signedSize = row.size
      this.#soundSize = row.size
    }
  }

  /** The signed text speaks, not the columns beside it; those must only agree. */
  #signatureProblem(row: CheckpointRow): string | undefined {
    try {
      const note = parseNote(row.note)
      const { origin, size, root } = parseCheckpoint(note.text)
      if (verifyNote(note, [this.#key]).length !== 1) return 'our key did not sign it'
      if (origin !== this.#tree.origin) return 'it is of another log'
      if (size !== row.size) return 'it is filed under another size'
      if (!isCompactRange(row) || !rootHash(row).equals(root)) return 'its range has another root'
      return undefined
    } catch (err) {
      if (err instanceof NoteInvalid) return err.message
      throw err
    }
  }

  #isHead(row: CompactRange): boolean {
    return row.size === this.#range.size && rootHash(row).equals(rootHash(this.#range))
  }

  async #end(): Promise<void> {
    const { size } = this.#tree
    if (this.#next < size) this.#fault({ kind: 'leaf-missing', at: this.#next })
    if (!isCompactRange(this.#tree) || !this.#isHead(this.#tree)) {
      this.#fault({ kind: 'tree-changed', at: size, from: this.#soundSize })
    }
    // Rows that were not read in passing: filed where no leaf or payload belongs.
    const { leaves, privates } = await countRows(this.#tx)
    if (leaves !== this.#range.size) this.#fault({ kind: 'leaf-misplaced', at: size })
    if (privates > this.#commitments) this.#fault({ kind: 'private-unexpected', at: size })
  }

  #fault(fault: Fault): void {
    this.#faultsTotal += 1
    if (this.#faults.length < faultsMax) this.#faults.push(fault)
  }
}
