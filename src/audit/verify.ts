import type { ReadTx } from '../postgres/index.ts'
import { headProblem, noteProblem, openNote } from './continuation.ts'
import { commit, decodeLeaf, decodePrivate } from './event.ts'
import { verifyFormerEpochs } from './former-epochs.ts'
import type { KeptCheckpoint } from './kept-checkpoint.ts'
import {
  appendLeafHash,
  type CompactRange,
  emptyTree,
  isCompactRange,
  leafHash,
  rootHash,
} from './merkle.ts'
import type { VerifierKey } from './note.ts'
import {
  type CheckpointRow,
  countStrayPayloads,
  eachLeaf,
  findTree,
  hasLeafBelowZero,
  type LeafRow,
  listCheckpoints,
  type Tree,
} from './queries.ts'
import type { SignedHead } from './signed-heads.ts'

/** The kind of a fault. */
export type FaultKind =
  /** There is no leaf at this index, though the tree counts it. */
  | 'leaf-missing'
  /** There is a leaf beyond the end of the tree: reported once, for any number of them. */
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
  /** Fewer leaves are left than were signed, as this node remembers, or as a kept checkpoint says. */
  | 'rolled-back'
  /** The leaves are not those that were signed, as this node remembers or a kept checkpoint says. */
  | 'rewritten'
  /** The remembered or kept head is of another log, or signed by another key. */
  | 'log-replaced'
  /** A log that was given up, and stands before this one, is not what it was then. No repair mends that. */
  | 'former-changed'

export interface Fault {
  readonly kind: FaultKind
  /** The leaf's index; for a checkpoint and the tree, the number of leaves; of former epochs, of all leaves. */
  readonly at: number
  /** The fault is at this leaf or after it, and before `at`. */
  readonly from?: number
  readonly detail?: string
}

export interface VerifyReport {
  readonly ok: boolean
  readonly origin: string
  /** How many leaves are stored. */
  readonly size: number
  /** How many the stored head counts. */
  readonly treeSize: number
  /** Of the leaves as they are stored, in hexadecimal. */
  readonly root: string
  readonly checkpoints: number
  /** The sizes of the checkpoints that our key did not sign for this log: each is a fault as well. */
  readonly forgedCheckpoints: readonly number[]
  /** How many of the leaves a signed checkpoint commits to. The rest only the tree vouches for. */
  readonly signedSize: number
  /** The size of the head that this node remembers outside of the database; undefined for none. */
  readonly rememberedSize: number | undefined
  /** Of that head, in hexadecimal. */
  readonly rememberedRoot: string | undefined
  /** How many kept checkpoints the log was compared with. */
  readonly kept: number
  /** Where this log begins, behind the leaves of former epochs. */
  readonly formerLeaves: number
  /** How many leaves of former epochs are those that were given up. */
  readonly formerVerified: number
  /** Whether the others were changed: a fault as well. */
  readonly isFormerChanged: boolean
  /** The first faults, in order; faultsTotal counts them all. */
  readonly faults: readonly Fault[]
  readonly faultsTotal: number
}

const batchMax = 500
const faultsMax = 100

/** The signed heads of a log, from outside of the database. */
export interface Memory {
  readonly remembered: SignedHead | undefined
  readonly kept: readonly KeptCheckpoint[]
}

/** A root that the log had at a size. */
interface Witness {
  readonly size: number
  readonly root: Buffer
  readonly whose: string
}

/**
 * Recomputes everything that can be recomputed, in the order of the leaves and without keeping more
 * than a batch of them in memory. Give it a transaction with one snapshot.
 *
 * Without a memory outside of the database, verify cannot notice that leaves and the checkpoints
 * above them were cut and the tree was set back as well. With one, it cannot notice that for leaves
 * after the last remembered head.
 */
export async function verifyLog(
  tx: ReadTx,
  key: (origin: string) => VerifierKey,
  memory: Memory,
): Promise<VerifyReport> {
  const tree = (await findTree(tx)) ?? headlessTree(memory)
  const check = new LogCheck(tx, tree, key(tree.origin), memory)
  return check.run()
}

/** Of a log whose head somebody removed: the leaves may still be those that were signed. */
function headlessTree({ remembered }: Memory): Tree {
  return { ...emptyTree, origin: remembered?.origin ?? 'unknown', firstLeaf: 0 }
}

class LogCheck {
  readonly #tx: ReadTx
  readonly #tree: Tree
  readonly #key: VerifierKey
  readonly #memory: Memory
  readonly #faults: Fault[] = []
  #faultsTotal = 0
  #range: CompactRange = emptyTree
  /** Where the next leaf should stand. Where leaves are missing it runs ahead of the range. */
  #next = 0
  #isBeyond = false
  #signedSize = 0
  #checkpoints = 0
  readonly #forged: number[] = []
  /** The last head at which everything before it was as it had been signed. */
  #soundSize = 0

  constructor(tx: ReadTx, tree: Tree, key: VerifierKey, memory: Memory) {
    this.#tx = tx
    this.#tree = tree
    this.#key = key
    this.#memory = memory
  }

  async run(): Promise<VerifyReport> {
    const { remembered, kept } = this.#memory
    const witnesses = this.#witnesses()
    const checkpoints = this.#eachCheckpoint()
    let next = await checkpoints.next()
    for await (const row of eachLeaf(this.#tx, batchMax)) {
      this.#leaf(row)
      while (next.value !== undefined && next.value.size <= this.#next) {
        this.#checkpoint(next.value)
        next = await checkpoints.next()
      }
      while (witnesses[0] !== undefined && witnesses[0].size <= this.#next)
        this.#compare(witnesses.shift())
    }
    for (; next.value !== undefined; next = await checkpoints.next()) {
      this.#checkpoint(next.value)
    }
    for (const witness of witnesses) this.#compare(witness)
    await this.#end()
    const former = await verifyFormerEpochs(this.#tx, this.#tree)
    if (former.problem !== undefined) this.#fault({ kind: 'former-changed', ...former.problem })
    return {
      ok: this.#faultsTotal === 0,
      origin: this.#tree.origin,
      size: this.#range.size,
      treeSize: this.#tree.size,
      root: rootHash(this.#range).toString('hex'),
      checkpoints: this.#checkpoints,
      forgedCheckpoints: this.#forged,
      signedSize: this.#signedSize,
      rememberedSize: remembered?.size,
      rememberedRoot: remembered && rootHash(remembered).toString('hex'),
      kept: kept.length,
      formerLeaves: this.#tree.firstLeaf,
      formerVerified: former.verified,
      isFormerChanged: former.problem !== undefined,
      faults: this.#faults,
      faultsTotal: this.#faultsTotal,
    }
  }

  /** The heads from outside that are of this log, in order of size. */
  #witnesses(): Witness[] {
    const { remembered, kept } = this.#memory
    const witnesses: Witness[] = []
    if (remembered !== undefined) {
      const problem = headProblem(remembered, this.#tree.origin, this.#key)
      const whose = 'this node remembers it'
      if (problem === undefined)
        witnesses.push({ size: remembered.size, root: rootHash(remembered), whose })
      else this.#fault({ kind: 'log-replaced', at: remembered.size, detail: problem })
    }
    for (const checkpoint of kept) {
      const problem = checkpoint.problem(this.#tree.origin, this.#key)
      const { size, root } = checkpoint
      if (problem !== undefined) this.#fault({ kind: 'log-replaced', at: size, detail: problem })
      else if (size > 0) witnesses.push({ size, root, whose: 'a kept checkpoint' })
    }
    return witnesses.toSorted((a, b) => a.size - b.size)
  }

  #compare(witness: Witness | undefined): void {
    if (witness === undefined) return
    const { size: at, root, whose: detail } = witness
    if (at > this.#next) {
      this.#fault({ kind: 'rolled-back', at, from: this.#next, detail })
    } else if (at !== this.#range.size || !rootHash(this.#range).equals(root)) {
      this.#fault({ kind: 'rewritten', at, from: this.#soundSize, detail })
    } else {
      this.#soundSize = Math.max(this.#soundSize, at)
    }
  }

  async *#eachCheckpoint(): AsyncGenerator<CheckpointRow, undefined> {
    for (let after = 0; ; ) {
      const rows = await listCheckpoints(this.#tx, after, batchMax)
      const last = rows.at(-1)
      // Those beyond the largest number are read as one, again and again.
      if (last === undefined || last.size <= after) return undefined
      yield* rows
      after = last.size
    }
  }

  #leaf(row: LeafRow): void {
    const { index } = row
    if (index >= this.#tree.size && !this.#isBeyond) {
      this.#isBeyond = true
      this.#fault({ kind: 'leaf-beyond-tree', at: index })
    }
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
    if (salt === null) this.#fault({ kind: 'private-missing', at: index })
    else if (
      // It was too large to be read.
      payload === null ||
      salt.length !== 32 ||
      decodePrivate(payload) === undefined ||
      !commit(id, salt, payload).equals(commitment)
    ) {
      this.#fault({ kind: 'private-changed', at: index })
    }
  }

  #checkpoint(row: CheckpointRow): void {
    this.#checkpoints += 1
    const problem = noteProblem(row, this.#tree.origin, this.#key)
    if (problem !== undefined) {
      const isForged = 'problem' in openNote(row.note, this.#tree.origin, this.#key)
      if (isForged) this.#forged.push(row.size)
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
    const { found } = await hasLeafBelowZero(this.#tx)
    if (found) this.#fault({ kind: 'leaf-misplaced', at: 0 })
    const strays = await countStrayPayloads(this.#tx)
    if (strays > 0) this.#fault({ kind: 'private-unexpected', at: size })
  }

  #fault(fault: Fault): void {
    this.#faultsTotal += 1
    if (this.#faults.length < faultsMax) this.#faults.push(fault)
  }
}
