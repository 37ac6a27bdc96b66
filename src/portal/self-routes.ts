import { z } from 'zod'
import { type Act, acts, rightsOf } from '../access/index.ts'
import { roles, type WebIdentity } from '../auth/index.ts'
import { type Route, routesFor } from '../http/index.ts'

const route = routesFor<WebIdentity, Act>()

/** The signed-in person. */
export function selfRoutes() {
  return [
    route({
      method: 'GET',
      path: '/api/v1/self',
      summary: 'Who you are, and how far each of your rights reaches',
      right: 'self.read',
      reply: z.object({
        tenant: z.string(),
        user: z.string(),
        role: z.enum(roles),
        rights: z.record(z.enum(acts), z.enum(['all', 'own', 'none'])),
      }),
      async act(_asked, { person }) {
        const { tenantSlug: tenant, user } = person
        return { tenant, user: user.name, role: user.role, rights: rightsOf(person) }
      },
    }),
  ] satisfies readonly Route<WebIdentity, Act>[]
}
