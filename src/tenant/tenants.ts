import { randomUUID } from 'node:crypto'
import { appendEvent } from '../audit/index.ts'
import { type Actor, actorKeys } from '../auth/index.ts'
import type { Log } from '../log.ts'
import { type Database, parseTenantId, type TenantId, violation } from '../postgres/index.ts'
import type { Vault } from '../vault/index.ts'
import { TenantExists, TenantMissing, TenantNameInvalid } from './errors.ts'
import {
  findTenantBySlug,
  insertTenant,
  listTenants,
  resolveTenant,
  setSuspended,
  type TenantRow,
} from './queries.ts'

/** A customer organisation. */
export interface Tenant {
  readonly id: TenantId
  readonly slug: string
  readonly name: string
  /** RFC 3339, UTC. */
  readonly createdAt: string
  readonly suspendedAt: string | undefined
}

/** The facts about a tenant that a login needs. */
export interface TenantEntry {
  readonly id: TenantId
  readonly slug: string
  readonly suspended: boolean
}

export interface Tenants {
  /**
   * Makes a tenant with its log and its keys. Takes seconds, because the keys are RSA. Throws
   * TenantExists; by then it has finished an earlier create that died.
   */
  create(fields: { readonly slug: string; readonly name?: string }, actor: Actor): Promise<Tenant>
  list(): Promise<readonly Tenant[]>
  /** Throws TenantMissing. */
  find(slug: string): Promise<Tenant>
  suspend(slug: string, actor: Actor): Promise<Tenant>
  resume(slug: string, actor: Actor): Promise<Tenant>
  /** By slug, or by `tenant-` and the first eight hex digits of its id. Works for every role. */
  resolve(name: string): Promise<TenantEntry | undefined>
}

const slugPattern = /^[a-z0-9][a-z0-9-]{0,31}$/
const idNamePattern = /^tenant-([0-9a-f]{8})$/
const nameLengthMax = 200

export function createTenants({
  database,
  vault,
  log,
}: {
  readonly database: Database
  readonly vault: Pick<Vault, 'createSshKeys'>
  readonly log: Log
}): Tenants {
  async function find(slug: string): Promise<Tenant> {
    const row = await database.system((tx) => findTenantBySlug(tx, slug))
    if (row === undefined) throw new TenantMissing(slug)
    return fromRow(row)
  }

  async function setState(slug: string, suspended: boolean, actor: Actor): Promise<Tenant> {
    const tenant = await find(slug)
    await database.write(tenant.id, async (tx) => {
      if ((await setSuspended(tx, suspended)) === 0) return
      await appendEvent(tx, {
        type: suspended ? 'tenant.suspend' : 'tenant.resume',
        public: { tenant: tenant.id, ...actorKeys(actor) },
        private: { slug, actorName: actor.name },
      })
    })
    return find(slug)
  }

  return {
    async create({ slug, name = slug }, actor) {
      // A slug that looks like an id would name two tenants.
      if (!slugPattern.test(slug) || idNamePattern.test(slug)) throw new TenantNameInvalid(slug)
      const id = newTenantId()
      try {
        await database.write(id, async (tx) => {
          await insertTenant(tx, id, slug, name.slice(0, nameLengthMax) || slug)
          await appendEvent(tx, {
            type: 'tenant.create',
            public: { tenant: id, ...actorKeys(actor) },
            private: { slug, name, actorName: actor.name },
          })
        })
      } catch (err) {
        if (violation(err)?.kind !== 'unique') throw err
        // An earlier create may have died before it made the keys; those that are there stay.
        await vault.createSshKeys((await find(slug)).id)
        throw new TenantExists(slug)
      }
      log.info({ tenant: id }, 'tenant created')
      await vault.createSshKeys(id)
      return find(slug)
    },
    list: async () => (await database.system(listTenants)).map(fromRow),
    find,
    suspend: (slug, actor) => setState(slug, true, actor),
    resume: (slug, actor) => setState(slug, false, actor),
    async resolve(name) {
      const row = await database.system((tx) =>
        resolveTenant(tx.last(), name, idNamePattern.exec(name)?.[1]),
      )
      if (row === undefined || row.slug === '-') return undefined
      return { id: row.id, slug: row.slug, suspended: row.suspendedAt !== null }
    },
  }
}

function newTenantId(): TenantId {
  const id = parseTenantId(randomUUID())
  if (id === undefined) throw new Error('a random UUID is not a tenant id')
  return id
}

function fromRow({ id, slug, name, createdAt, suspendedAt }: TenantRow): Tenant {
  return {
    id,
    slug,
    name,
    createdAt: createdAt.toISOString(),
    suspendedAt: suspendedAt?.toISOString(),
  }
}
