/**
 * The columns of tenants that the system and the directory role see; each has only the columns it
 * needs.
 */

import type { ReadTx, TenantId, WriteTx } from '../postgres/index.ts'

export interface TenantRow {
  readonly id: TenantId
  readonly slug: string
  readonly name: string
  readonly createdAt: Date
  readonly suspendedAt: Date | null
}

const columns = `tenant_id as id, slug, name, created_at as "createdAt", suspended_at as "suspendedAt"`

export function listTenants(tx: ReadTx): Promise<TenantRow[]> {
  return tx.many(`select ${columns} from tenant where slug <> '-' order by slug`)
}

export function findTenantBySlug(tx: ReadTx, slug: string): Promise<TenantRow | undefined> {
  return tx.maybe(`select ${columns} from tenant where slug = $1 and slug <> '-'`, [slug])
}

/**
 * By name, or by the first eight hex digits of an id; if two ids have the same digits, neither is
 * found.
 */
export async function resolveTenant(
  tx: ReadTx,
  slug: string,
  idStart: string | undefined,
): Promise<Pick<TenantRow, 'id' | 'slug' | 'suspendedAt'> | undefined> {
  const rows = await tx.many<Pick<TenantRow, 'id' | 'slug' | 'suspendedAt'>>(
    `select tenant_id as id, slug, suspended_at as "suspendedAt" from tenant
       where slug = $1 or left(tenant_id::text, 8) = $2 limit 3`,
    [slug, idStart ?? ''],
  )
  return rows.find((row) => row.slug === slug) ?? (rows.length === 1 ? rows[0] : undefined)
}

export function insertTenant(tx: WriteTx, id: TenantId, slug: string, name: string) {
  return tx.run('insert into tenant (tenant_id, slug, name) values ($1, $2, $3)', [id, slug, name])
}

/** 0 when it was so already. */
export function setSuspended(tx: WriteTx, suspended: boolean): Promise<number> {
  return tx.run(
    `update tenant set suspended_at = case when $1 then now() end
       where (suspended_at is not null) <> $1`,
    [suspended],
  )
}
