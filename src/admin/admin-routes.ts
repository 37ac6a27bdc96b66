import { z } from 'zod'
import type { WebIdentity } from '../auth/index.ts'
import { type Route, routesFor } from '../http/index.ts'
import type { Tenants } from '../tenant/index.ts'
import type { Vault } from '../vault/index.ts'

/** Every administrator may do everything here. */
export type AdminRight = 'administrator'

export interface AdminRoutesDeps {
  readonly tenants: Pick<Tenants, 'list'>
  readonly vault: Pick<Vault, 'status'>
}

const route = routesFor<WebIdentity, AdminRight>()

const tenantShape = z
  .object({
    id: z.string(),
    slug: z.string(),
    name: z.string(),
    createdAt: z.iso.datetime(),
    suspendedAt: z.iso.datetime().optional(),
  })
  .meta({ id: 'Tenant' })

/** The API of the admin plane. */
export function adminRoutes({ tenants, vault }: AdminRoutesDeps) {
  return [
    route({
      method: 'GET',
      path: '/api/v1/admin/tenants',
      summary: 'Every tenant',
      right: 'administrator',
      reply: z.array(tenantShape).readonly(),
      act: () => tenants.list(),
    }),
    route({
      method: 'GET',
      path: '/api/v1/admin/vault/health',
      summary: 'Whether the vault is open, and the key that opens it',
      right: 'administrator',
      reply: z.object({
        status: z.enum(['ok', 'sealed']),
        sealed: z.boolean(),
        provider: z.string(),
        kekId: z.string(),
      }),
      statuses: [200, 503],
      statusOf: ({ sealed }) => (sealed ? 503 : 200),
      async act() {
        const { sealed, provider, kekId } = await vault.status()
        const status: 'sealed' | 'ok' = sealed ? 'sealed' : 'ok'
        return { status, sealed, provider, kekId }
      },
    }),
  ] satisfies readonly Route<WebIdentity, AdminRight>[]
}
