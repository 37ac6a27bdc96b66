import { randomBytes } from 'node:crypto'
import { type Administration, administer, raised, type TenantId } from '../postgres/index.ts'
import type { Secret } from '../secret.ts'
import { RepairRefused } from './errors.ts'
import { encodeEvent } from './event.ts'
import type { AuditEvent } from './event-types.ts'
import { type CompactRange, emptyTree, rootHash } from './merkle.ts'
import { appendValues } from './queries.ts'
import type { Fault, VerifyReport } from './verify.ts'

/** The way to repair a log. */
export type RepairKind =
  /** The log has no fault. */
  | 'none'
  /**
   * The head is computed again from the leaves, which are those that were signed. Checkpoints that our key
   * did not sign are removed.
   */
  | 'head'
  /**
   * The leaves are not those that were signed, and cannot be repaired: the log is given up, and a
   * new one begins after it.
   */
  | 'epoch'
  /** The log is a new epoch of the one that this node remembers, and sound: the node remembers it. */
  | 'remember'

/** The actor of a repair, and the reason. */
export interface RepairOrder {
  readonly actor: { readonly kind: string; readonly id: string; readonly name: string }
  readonly reason: string
}

/** The faults that verify found, and the way to repair them. */
export interface RepairPlan {
  readonly repair: RepairKind
  readonly report: VerifyReport
}

/**
 * Decides from the report of verify. `follows` says whether the log is a new epoch of the
 * remembered one.
 */
export function planRepair(report: VerifyReport, follows: boolean): RepairPlan {
  // What was done to a former log is told, and cannot be mended.
  const faults = report.faults.filter(({ kind }) => kind !== 'former-changed')
  const total = report.faultsTotal - (report.isFormerChanged ? 1 : 0)
  if (total === 0) return { repair: 'none', report }
  const others = faults.filter((fault) => !isForgery(fault, report))
  const forged = report.forgedCheckpoints.length
  const all = total - forged === others.length
  // Without anything that our key signed, nothing says that the leaves are those that were signed.
  const isVouchedFor = forged === 0 || report.signedSize > 0 || report.rememberedSize !== undefined
  if (all && isVouchedFor && others.every((fault) => isOfHead(fault, report)))
    return { repair: 'head', report }
  // A node that begins a new epoch signs it at once. A superuser can write a first leaf, but cannot
  // sign.
  const isSigned = report.signedSize > 0
  const isOnlyReplaced = faults.every(({ kind }) => kind === 'log-replaced')
  const isRemembering = all && follows && isSigned && isOnlyReplaced
  return { repair: isRemembering ? 'remember' : 'epoch', report }
}

/** A note that our key did not sign is no evidence, so it can be removed. */
function isForgery({ kind, at }: Fault, { forgedCheckpoints }: VerifyReport): boolean {
  return kind === 'checkpoint-signature' && forgedCheckpoints.includes(at)
}

/** Only faults of the head: every signed leaf is unchanged, and no remaining leaf is missing. */
function isOfHead({ kind, at }: Fault, { size }: VerifyReport): boolean {
  if (kind === 'leaf-missing') return at === size
  return kind === 'tree-changed' || kind === 'leaf-beyond-tree'
}

/**
 * Repairs a log as the owner of the tables, and appends `audit.repaired`, in one transaction: the
 * first leaf of a new epoch, or the next one after a repaired head. Returns the size.
 */
export async function repairLog(
  owner: Secret<string>,
  tenant: TenantId,
  { repair, report }: RepairPlan,
  { actor, reason }: RepairOrder,
): Promise<number> {
  const removed = repair === 'head' ? report.forgedCheckpoints : []
  const event = (size: number, formerLeaves?: number): AuditEvent => ({
    type: 'audit.repaired',
    public: {
      tenant,
      repair,
      removedCheckpoints: removed.length > 0 ? String(removed.length) : undefined,
      sizeBefore: String(report.treeSize),
      size: String(size),
      root: report.root,
      formerSize: repair === 'epoch' ? String(report.size) : undefined,
      formerLeaves: formerLeaves === undefined ? undefined : String(formerLeaves),
      formerOrigin: repair === 'epoch' ? report.origin : undefined,
      signedSize: String(Math.max(report.signedSize, report.rememberedSize ?? 0)),
      signedRoot: report.rememberedRoot,
      actor: actor.id,
      actorKind: actor.kind,
    },
    private: { actorName: actor.name, reason },
  })
  return administer(owner, async (server) => {
    await server.many('begin')
    await server.many("select set_config('app.tenant_id', $1, true)", [tenant])
    const mend = async (): Promise<CompactRange> => {
      const [row] = await server.many<{ size: string; hashes: Buffer[] }>(
        'select mended_size as size, mended_hashes as hashes from audit_mend()',
      )
      return { size: Number(row?.size), hashes: row?.hashes ?? [] }
    }
    try {
      const formerLeaves = repair === 'epoch' ? await beginEpoch(server) : undefined
      if (removed.length > 0) await server.many('select audit_remove_checkpoints($1)', [removed])
      const tree = repair === 'epoch' ? emptyTree : await mend()
      // It was verified a moment ago, and may have been changed since.
      if (repair === 'head' && rootHash(tree).toString('hex') !== report.root) {
        throw new RepairRefused('its leaves have changed meanwhile: try again')
      }
      const encoded = encodeEvent(event(tree.size, formerLeaves), {
        now: new Date(),
        random: randomBytes,
      })
      await server.many('select audit_append($1, $2, $3, $4, $5)', appendValues(encoded))
      await server.many('commit')
      return tree.size + 1
    } catch (err) {
      // The connection ends with the error, and with it the transaction.
      if (raised(err) === undefined) throw err
      throw new RepairRefused(err instanceof Error ? err.message : 'the database refused')
    }
  })
}

/** Answers how many leaves the former epoch has. Some may have come since it was verified. */
async function beginEpoch(server: Administration): Promise<number> {
  const [from] = await server.many<{ first: string }>(
    'select coalesce(max(first_leaf), 0) as first from audit_tree',
  )
  // From here on the head is locked.
  await server.many('select audit_begin_epoch()')
  const [row] = await server.many<{ count: string }>(
    'select count(*) as count from audit_leaf where leaf_index >= $1',
    [from?.first ?? 0],
  )
  return Number(row?.count)
}
