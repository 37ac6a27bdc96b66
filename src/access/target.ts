import { appendEvent } from '../audit/index.ts'
import { type Actor, actorKeys } from '../auth/index.ts'
import { type Database, type ReadTx, type TenantId, violation } from '../postgres/index.ts'
import { fingerprint } from '../ssh/index.ts'
import { AccessLimit, TargetExists, TargetMissing } from './errors.ts'
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
  type TargetRow,
} from './target-queries.ts'
import {
  applyChange,
  checkChange,
  type TargetChange,
  type TargetUpdate,
  targetUpdated,
} from './target-update.ts'

export type NewTarget = Pick<Target, 'name' | 'host' | 'port' | 'logins' | 'hostKeys'> & {
  /** key unless told. */
  readonly auth?: Target['auth']
}

export interface Targets {
  /** Throws TargetInvalid with the reason, TargetExists, AccessLimit. */
  addTarget(tenant: TenantId, target: NewTarget, actor: Actor): Promise<Target>
  /** By name. */
  listTargets(tenant: TenantId): Promise<readonly Target[]>
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

export function createTargets(database: Database): Targets {
  return {
    async addTarget(tenant, wish, actor) {
      const target = checkTarget(wish)
      try {
        return await database.write(tenant, async (tx) => {
          if ((await countTargets(tx)) >= targetsMax) throw new AccessLimit('targets', targetsMax)
          const id = await insertTarget(tx, target)
          await insertHostKeys(tx, id, target.hostKeys)
          const added = await requireTarget(tx, target.name)
          await appendEvent(tx, { type: 'target.add', ...eventOf(added, actor) })
          return added
        })
      } catch (err) {
        if (violation(err)?.kind === 'unique') throw new TargetExists(target.name)
        throw err
      }
    },
    listTargets: async (tenant) => (await database.read(tenant, listTargets)).map(targetOf),
    async findTarget(tenant, name) {
      const row = await database.read(tenant, (tx) => findTarget(tx, name))
      return row && targetOf(row)
    },
    async updateTarget(tenant, name, wished, actor) {
      const change = checkChange(wished)
      return database.write(tenant, async (tx) => {
        // Of two changes at once the second waits here, and changes what the first one left.
        if ((await lockTarget(tx, name)) === undefined) throw new TargetMissing(name)
        const before = await requireTarget(tx, name)
        if (!(await applyChange(tx, before, change))) return { before, after: before }
        const after = await requireTarget(tx, name)
        await appendEvent(tx, targetUpdated(before, after, actor))
        return { before, after }
      })
    },
    certifyHost: (tenant, name) =>
      database.write(tenant, async (tx) => {
        // Whether it was issued is on the log of the authority.
        await setHostCertified(tx, (await requireTarget(tx, name)).id)
      }),
    removeTarget: (tenant, name, actor) =>
      database.write(tenant, async (tx) => {
        const target = await requireTarget(tx, name)
        if ((await deleteTarget(tx, target.id)) === 0) throw new TargetMissing(name)
        await appendEvent(tx, { type: 'target.remove', ...eventOf(target, actor) })
        return target
      }),
  }
}

/** Throws TargetMissing. */
export async function requireTarget(tx: ReadTx, name: string): Promise<Target> {
  const row = await findTarget(tx, name)
  if (row === undefined) throw new TargetMissing(name)
  return targetOf(row)
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
