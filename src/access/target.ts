import { appendEvent } from '../audit/index.ts'
import { type Actor, actorKeys } from '../auth/index.ts'
import {
  type Database,
  type ReadTx,
  type TenantId,
  violation,
  type WriteTx,
} from '../postgres/index.ts'
import { fingerprint } from '../ssh/index.ts'
import { RecordChanged, type TagRecord } from '../vault/index.ts'
import { AccessLimit, TargetExists, TargetInvalid, TargetMissing } from './errors.ts'
import {
  checkHost,
  checkHostKeys,
  checkLogins,
  checkName,
  checkPort,
  type Target,
} from './target-fields.ts'
import {
  countTargets,
  deleteTarget,
  findTarget,
  insertHostKeys,
  insertTarget,
  listTargets,
  lockTarget,
  setHostCertified,
  setTargetTag,
  type TargetRow,
} from './target-queries.ts'
import {
  intactTargets,
  requireIntactTargets,
  type TargetVault,
  targetRecord,
} from './target-record.ts'
import {
  applyChange,
  checkChange,
  type TargetChange,
  type TargetUpdate,
  targetUpdated,
} from './target-update.ts'

export type NewTarget = Pick<Target, 'name' | 'host' | 'port' | 'logins' | 'hostKeys'> & {
  /** Default: key. */
  readonly auth?: Target['auth']
}

export interface Targets {
  /** Throws TargetInvalid with the reason, TargetExists, AccessLimit. */
  addTarget(tenant: TenantId, target: NewTarget, actor: Actor): Promise<Target>
  /** By name. Throws RecordChanged for a target that was changed outside VaultTerm. */
  listTargets(tenant: TenantId): Promise<readonly Target[]>
  /** Throws RecordChanged. */
  findTarget(tenant: TenantId, name: string): Promise<Target | undefined>
  /**
   * Changes a target in place: its grants stay. Sessions end that the new facts do not allow, and those on a
   * target with another address or without a host key that it had. Throws TargetMissing, TargetInvalid.
   */
  updateTarget(
    tenant: TenantId,
    name: string,
    change: TargetChange,
    actor: Actor,
  ): Promise<TargetUpdate>
  /** A host certificate was issued for it. Throws TargetMissing. */
  certifyHost(tenant: TenantId, name: string): Promise<void>
  /** With the grants that name it; its live sessions end. Throws TargetMissing. */
  removeTarget(tenant: TenantId, name: string, actor: Actor): Promise<Target>
}

const targetsMax = 10_000
/** Of an update that finds the target changed meanwhile. */
const updateTriesMax = 100

export function createTargets(database: Database, vault: TargetVault): Targets {
  return {
    async addTarget(tenant, fields, actor) {
      const target = checkTarget(fields)
      const write = async (tx: WriteTx, tag: TagRecord) => {
        if ((await countTargets(tx)) >= targetsMax) throw new AccessLimit('targets', targetsMax)
        const id = await insertTarget(tx, target)
        await insertHostKeys(tx, id, target.hostKeys)
        const row = await requireRow(tx, target.name)
        requireFacts(row, { ...target, hostCertified: false })
        await setTargetTag(tx, id, tag(targetRecord(row)))
        const added = targetOf(row)
        await appendEvent(tx, { type: 'target.add', ...eventOf(added, actor) })
        return added
      }
      try {
        return await vault.tagging(tenant, (tag) => database.write(tenant, (tx) => write(tx, tag)))
      } catch (err) {
        if (violation(err)?.kind === 'unique') throw new TargetExists(target.name)
        throw err
      }
    },
    async listTargets(tenant) {
      const rows = await database.read(tenant, listTargets)
      await requireIntactTargets(vault, tenant, rows)
      return rows.map(targetOf)
    },
    async findTarget(tenant, name) {
      const row = await database.read(tenant, (tx) => findTarget(tx, name))
      if (row === undefined) return undefined
      await requireIntactTargets(vault, tenant, [row])
      return targetOf(row)
    },
    async updateTarget(tenant, name, changes, actor) {
      const change = checkChange(changes)
      for (let tries = 0; tries < updateTriesMax; tries++) {
        const checked = await database.read(tenant, (tx) => requireRow(tx, name))
        await requireIntactTargets(vault, tenant, [checked])
        const updated = await vault.tagging(tenant, (tag) =>
          database.write(tenant, (tx) => writeUpdate(tx, { checked, change, tag, actor })),
        )
        if (updated !== undefined) return updated
      }
      throw new TargetInvalid(`${name} is being changed by others; try again`)
    },
    async certifyHost(tenant, name) {
      const row = await database.read(tenant, (tx) => requireRow(tx, name))
      await requireIntactTargets(vault, tenant, [row])
      await vault.tagging(tenant, (tag) =>
        database.write(tenant, async (tx) => {
          // The log of the authority says whether the certificate was issued. The tag is made from
          // the checked row: a row that was changed meanwhile does not match it.
          await setHostCertified(tx, row.id)
          await setTargetTag(tx, row.id, tag(targetRecord({ ...row, hostCertified: true })))
        }),
      )
    },
    async removeTarget(tenant, name, actor) {
      const known = await database.read(tenant, (tx) => requireRow(tx, name))
      const [intact] = await intactTargets(vault, tenant, [known])
      return database.write(tenant, async (tx) => {
        const target = targetOf(await requireRow(tx, name))
        if ((await deleteTarget(tx, target.id)) === 0) throw new TargetMissing(name)
        // A changed row can be removed, but its keys are not printed.
        const told = intact === undefined ? { ...target, hostKeys: [] } : target
        await appendEvent(tx, { type: 'target.remove', ...eventOf(told, actor) })
        return told
      })
    },
  }
}

/** undefined: the checked target has changed meanwhile, so nothing was written. */
async function writeUpdate(
  tx: WriteTx,
  {
    checked,
    change,
    tag,
    actor,
  }: {
    readonly checked: TargetRow
    readonly change: TargetChange
    readonly tag: TagRecord
    readonly actor: Actor
  },
): Promise<TargetUpdate | undefined> {
  const { name } = checked
  // Of two changes at once the second waits here, and then starts again from the result of the
  // first.
  if ((await lockTarget(tx, name)) === undefined) throw new TargetMissing(name)
  const row = await requireRow(tx, name)
  // A row that was inserted since the check must not get a tag.
  if (JSON.stringify(targetRecord(row)) !== JSON.stringify(targetRecord(checked))) return undefined
  const before = targetOf(row)
  const wanted = await applyChange(tx, before, change)
  if (wanted === undefined) return { before, after: before }
  const changed = await requireRow(tx, name)
  requireFacts(changed, wanted)
  await setTargetTag(tx, changed.id, tag(targetRecord(changed)))
  const after = targetOf(changed)
  await appendEvent(tx, targetUpdated(before, after, actor))
  return { before, after }
}

type Facts = Omit<Target, 'id' | 'generation'>

/**
 * Only the facts that were asked for get a tag, and not those that a trigger, or another transaction, put
 * into the row. Throws RecordChanged.
 */
function requireFacts(row: TargetRow, wanted: Facts): void {
  if (factsOf(targetOf(row)) === factsOf(wanted)) return
  throw new RecordChanged(
    `the target ${JSON.stringify(row.name.slice(0, 64))}`,
    'add or change the target again',
  )
}

function factsOf({ name, host, port, logins, auth, hostCertified, hostKeys }: Facts): string {
  const keys = hostKeys.map(({ type, blob }) => `${type} ${blob.toString('base64')}`).toSorted()
  return JSON.stringify([name, host, port, logins, auth, hostCertified, keys])
}

/** Throws TargetMissing. */
async function requireRow(tx: ReadTx, name: string): Promise<TargetRow> {
  const row = await findTarget(tx, name)
  if (row === undefined) throw new TargetMissing(name)
  return row
}

/**
 * Its address and keys are not checked: for uses that only name the target. Throws TargetMissing.
 */
export async function requireTarget(
  tx: ReadTx,
  name: string,
): Promise<Pick<Target, 'id' | 'logins'>> {
  return targetOf(await requireRow(tx, name))
}

export function targetOf(row: TargetRow): Target {
  const { id, name, host, port, logins, auth, hostCertified, generation, keyTypes, keyBlobs } = row
  const hostKeys = keyBlobs.map((blob, i) => ({ type: keyTypes[i] ?? '', blob }))
  return { id, name, host, port, logins, auth, hostKeys, hostCertified, generation }
}

function checkTarget({ name, host, port, logins, auth = 'key', hostKeys }: NewTarget) {
  return {
    name: checkName(name),
    host: checkHost(host),
    port: checkPort(port),
    logins: checkLogins(logins),
    auth,
    hostKeys: checkHostKeys(hostKeys),
  }
}

function eventOf({ id, name, host, port, logins, auth, hostKeys }: Target, actor: Actor) {
  return {
    public: {
      target: id,
      hostKey: hostKeys.map(({ blob }) => fingerprint(blob)),
      auth,
      ...actorKeys(actor),
    },
    private: { name, host, port: String(port), logins, actorName: actor.name },
  }
}
