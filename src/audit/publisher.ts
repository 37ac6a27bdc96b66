import type { Log } from '../log.ts'
import { type Database, parseTenantId, type ReadTx, type TenantId } from '../postgres/index.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { LogInconsistent, NoteInvalid } from './errors.ts'
import { appendLeaf, type CompactRange, emptyTree, isCompactRange, rootHash } from './merkle.ts'
import { checkpoints } from './metrics.ts'
import { parseNote, verifyNote } from './note.ts'
import {
  findLastCheckpoint,
  insertCheckpoint,
  listGrownLogs,
  listLeafBytes,
  readTree,
} from './queries.ts'
import { type CheckpointSigner, keyOf, signCheckpoint } from './signer.ts'

const batchMax = 1000
const logsPerRoundMax = 1000

/**
 * Signs the heads of logs, after they have committed and never before: a head that was signed and
 * then rolled back would leave a log that no signer may continue.
 *
 * It signs nothing that it has not recomputed: the last signed head, extended by the stored bytes
 * of every leaf since, must be the tree. It also remembers what it signed, so that a database that
 * was set back under a running node is not signed for either.
 */
export class Publisher {
  readonly #database: Database
  readonly #signer: () => Promise<CheckpointSigner>
  readonly #log: Log
  /** What this process signed last, for each log: one small range a tenant. */
  readonly #signed = new Map<TenantId, CompactRange>()
  readonly #closing = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #round: Promise<void> = Promise.resolve()

  constructor(database: Database, signer: () => Promise<CheckpointSigner>, log: Log) {
    this.#database = database
    this.#signer = signer
    this.#log = log
  }

  /** Signs every log that has grown, again and again, until closed. */
  start(intervalMs: number): void {
    this.#timer ??= setInterval(() => {
      this.#round = this.#round.then(() => this.publishAll())
    }, intervalMs).unref()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    clearInterval(this.#timer)
    await this.#round
  }

  /** One round over all logs. One that cannot be signed does not keep the others from it. */
  async publishAll(): Promise<void> {
    try {
      const grown = await this.#database.system((tx) => listGrownLogs(tx, logsPerRoundMax))
      for (const { tenant } of grown) {
        if (this.#closing.signal.aborted) return
        const id = parseTenantId(tenant)
        if (id !== undefined) await this.#publishOrReport(id)
      }
    } catch (err) {
      this.#log.warn({ err }, 'checkpoints postponed')
    }
  }

  /** Signs the head of one log, and gives the note; of an unchanged log, the last note. */
  async publish(tenant: TenantId): Promise<string> {
    const signer = await this.#signer()
    const { tree, last } = await this.#database.read(
      tenant,
      (tx) => this.#recompute(tx, tenant, signer),
      { snapshot: true },
    )
    if (last?.size === tree.size) return last.note
    const root = rootHash(tree)
    const note = await signCheckpoint(signer, { origin: tree.origin, size: tree.size, root })
    // There is nothing to keep about a log without leaves: any log continues it.
    if (tree.size === 0) return note
    this.#signed.set(tenant, tree)
    await this.#database.write(tenant, (tx) => insertCheckpoint(tx, { ...tree, note }))
    checkpoints.inc({ outcome: 'signed' })
    return note
  }

  async #publishOrReport(tenant: TenantId): Promise<void> {
    try {
      await this.publish(tenant)
    } catch (err) {
      const refused = err instanceof LogInconsistent
      checkpoints.inc({ outcome: refused ? 'refused' : 'failed' })
      if (refused) this.#log.error({ err, tenant }, 'audit log inconsistent, not signed')
      else this.#log.warn({ err, tenant }, 'checkpoint postponed')
    }
  }

  /** The tree, proved from its own leaves to continue what was signed last. */
  async #recompute(tx: ReadTx, tenant: TenantId, signer: CheckpointSigner) {
    const tree = await readTree(tx)
    const last = await findLastCheckpoint(tx)
    const known = this.#signed.get(tenant)
    if (last !== undefined) checkLast(tree.origin, last, signer)
    if (known !== undefined && known.size > Math.max(tree.size, last?.size ?? 0)) {
      throw new LogInconsistent(tree.origin, `it had ${known.size} leaves when it was last signed`)
    }
    let range: CompactRange = last ?? emptyTree
    while (range.size < tree.size) {
      const rows = await listLeafBytes(tx, range.size, Math.min(batchMax, tree.size - range.size))
      if (rows.length === 0) throw new LogInconsistent(tree.origin, `leaf ${range.size} is missing`)
      for (const { index, leaf } of rows) {
        if (index !== range.size)
          throw new LogInconsistent(tree.origin, `leaf ${range.size} is missing`)
        range = appendLeaf(range, leaf)
        if (range.size === known?.size && !rootHash(range).equals(rootHash(known))) {
          throw new LogInconsistent(tree.origin, 'its leaves are not those that were signed')
        }
      }
    }
    if (
      range.size !== tree.size ||
      !isCompactRange(tree) ||
      !rootHash(range).equals(rootHash(tree))
    ) {
      throw new LogInconsistent(tree.origin, 'its tree is not that of its leaves')
    }
    return { tree, last }
  }
}

/** The stored range must be the one under the signature: everything after is built on it. */
function checkLast(
  origin: string,
  last: CompactRange & { note: string },
  signer: CheckpointSigner,
) {
  try {
    const note = parseNote(last.note)
    const { origin: named, size, root } = parseCheckpoint(note.text)
    const signed = verifyNote(note, [keyOf(signer, origin)]).length === 1
    if (!signed) throw new NoteInvalid('our key did not sign it')
    if (
      named !== origin ||
      size !== last.size ||
      !isCompactRange(last) ||
      !rootHash(last).equals(root)
    ) {
      throw new NoteInvalid('it is of another head')
    }
  } catch (err) {
    if (!(err instanceof NoteInvalid)) throw err
    throw new LogInconsistent(origin, `its last checkpoint, at ${last.size}, is ${err.message}`)
  }
}
