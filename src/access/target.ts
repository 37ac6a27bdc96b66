import { isIP } from 'node:net'
import { appendEvent } from '../audit/index.ts'
import { type Actor, actorKeys } from '../auth/index.ts'
import {
  type Database,
  type ReadTx,
  type TenantId,
  violation,
  type WriteTx,
} from '../postgres/index.ts'
import { fingerprint, parsePublicKeyBlob } from '../ssh/index.ts'
import type { TagRecord } from '../vault/index.ts'
import { AccessLimit, TargetExists, TargetInvalid, TargetMissing } from './errors.ts'
import {
  countTargets,
  deleteTarget,
  findTarget,
  insertHostKeys,
  insertTarget,
  listTargets,
  setHostCertified,
  setTargetTag,
  type TargetRow,
} from './queries.ts'
import {
  intactTargets,
  requireIntactTargets,
  type TargetVault,
  targetRecord,
} from './target-record.ts'

export type TargetId = string & { readonly brand: 'TargetId' }

/** A key by which a target proves that it is the one. */
export interface HostKey {
  readonly type: string
  readonly blob: Buffer
}

/** A host that can be opened. */
export interface Target {
  readonly id: TargetId
  readonly name: string
  readonly host: string
  readonly port: number
  /** Accounts on it that may be used at all; the first is the default. */
  readonly logins: readonly string[]
  /** With the tenant's admin key, or with a certificate of a minute or two. */
  readonly auth: 'key' | 'cert'
  readonly hostKeys: readonly HostKey[]
  /** Whether a certificate of the tenant's host authority vouches for another host key. */
  readonly hostCertified: boolean
}

export type NewTarget = Pick<Target, 'name' | 'host' | 'port' | 'logins' | 'hostKeys'> & {
  /** key unless told. */
  readonly auth?: Target['auth']
}

export interface Targets {
  /** Throws TargetInvalid with the reason, TargetExists, AccessLimit. */
  addTarget(tenant: TenantId, target: NewTarget, actor: Actor): Promise<Target>
  /** By name. Throws RecordChanged for a target that somebody changed in the database. */
  listTargets(tenant: TenantId): Promise<readonly Target[]>
  /** Throws RecordChanged. */
  findTarget(tenant: TenantId, name: string): Promise<Target | undefined>
  /** A host certificate was issued for it. Throws TargetMissing, RecordChanged. */
  certifyHost(tenant: TenantId, name: string): Promise<void>
  /**
   * Removes the target with the grants that name it; its live sessions end. A target that somebody
   * changed in the database can be removed, too: it then comes without host keys. Throws TargetMissing.
   */
  removeTarget(tenant: TenantId, name: string, actor: Actor): Promise<Target>
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,31}$/
const loginPattern = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/
const hostNamePattern =
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?$/
const loginsMax = 32
const hostKeysMax = 16
const targetsMax = 10_000

export function createTargets(database: Database, vault: TargetVault): Targets {
  return {
    async addTarget(tenant, wish, actor) {
      const target = checkTarget(wish)
      const write = async (tx: WriteTx, tag: TagRecord) => {
        if ((await countTargets(tx)) >= targetsMax) throw new AccessLimit('targets', targetsMax)
        const id = await insertTarget(tx, target)
        await insertHostKeys(tx, id, target.hostKeys)
        const row = await requireRow(tx, target.name)
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
    async certifyHost(tenant, name) {
      const row = await database.read(tenant, (tx) => requireRow(tx, name))
      await requireIntactTargets(vault, tenant, [row])
      await vault.tagging(tenant, (tag) =>
        database.write(tenant, async (tx) => {
          // Whether it was issued is on the log of the authority. The tag is made of the row that was
          // checked: one that somebody changed meanwhile does not fit it.
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
        // A changed row can be removed, but its keys are told nowhere.
        const told = intact === undefined ? { ...target, hostKeys: [] } : target
        await appendEvent(tx, { type: 'target.remove', ...eventOf(told, actor) })
        return told
      })
    },
  }
}

/** Throws TargetMissing. */
async function requireRow(tx: ReadTx, name: string): Promise<TargetRow> {
  const row = await findTarget(tx, name)
  if (row === undefined) throw new TargetMissing(name)
  return row
}

/** Its address and keys are not checked: this is for what names the target only. Throws TargetMissing. */
export async function requireTarget(
  tx: ReadTx,
  name: string,
): Promise<Pick<Target, 'id' | 'logins'>> {
  return targetOf(await requireRow(tx, name))
}

export function targetOf(row: TargetRow): Target {
  const { id, name, host, port, logins, auth, hostCertified, keyTypes, keyBlobs } = row
  const hostKeys = keyBlobs.map((blob, i) => ({ type: keyTypes[i] ?? '', blob }))
  return { id, name, host, port, logins, auth, hostKeys, hostCertified }
}

/** Whether a text can be an account on a target. */
export function isLogin(text: string): boolean {
  return loginPattern.test(text)
}

function checkTarget({ name, host, port, logins, auth = 'key', hostKeys }: NewTarget) {
  if (!namePattern.test(name)) {
    throw new TargetInvalid(
      `${shown(name)} cannot be a target's name: use 1 to 32 of a-z, 0-9 and -, with no - at the start`,
    )
  }
  if (isIP(host) === 0 && !hostNamePattern.test(host)) {
    throw new TargetInvalid(`${shown(host)} is neither a host name nor an IP address`)
  }
  if (!Number.isInteger(port) || port < 1 || port > 65535) {
    throw new TargetInvalid('a port is a number from 1 to 65535')
  }
  const accounts = [...new Set(logins)]
  const wrong = accounts.find((login) => !isLogin(login))
  if (wrong !== undefined) throw new TargetInvalid(`${shown(wrong)} cannot be a login`)
  if (accounts.length === 0 || accounts.length > loginsMax) {
    throw new TargetInvalid(`a target has 1 to ${loginsMax} logins; the first is the default`)
  }
  return { name, host, port, logins: accounts, auth, hostKeys: checkHostKeys(name, hostKeys) }
}

function checkHostKeys(name: string, keys: readonly HostKey[]): readonly HostKey[] {
  const unique = new Map<string, HostKey>()
  for (const { blob } of keys) {
    const parsed = parsePublicKeyBlob(Buffer.from(blob))
    if ('problem' in parsed) throw new TargetInvalid(`a host key cannot be used: ${parsed.problem}`)
    unique.set(parsed.key.fingerprint, { type: parsed.key.type, blob: parsed.key.blob })
  }
  if (unique.size === 0 || unique.size > hostKeysMax) {
    throw new TargetInvalid(
      `a target has 1 to ${hostKeysMax} host keys, by which it is known: give them, or let them be scanned (vaultterm target add … ${name} … --scan)`,
    )
  }
  return [...unique.values()]
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

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 64))
}
