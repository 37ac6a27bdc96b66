import { z } from 'zod'
import type { Access, Act } from '../access/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import { cursorOf, pageOf, pagingBy, type Route, routesFor, text } from '../http/index.ts'

export interface TargetRoutesDeps {
  readonly access: Pick<Access, 'listChoicesFor'>
}

const route = routesFor<WebIdentity, Act>()
const nameMax = 63

const targetShape = z
  .object({
    name: z.string(),
    lastAt: z.iso.datetime().nullable().meta({ description: 'When you last opened it' }),
  })
  .meta({ id: 'Target' })

/** The targets of a tenant, for those of its people who may open them. */
export function targetRoutes({ access }: TargetRoutesDeps) {
  return [
    route({
      method: 'GET',
      path: '/api/v1/targets',
      summary: 'The targets that you may open, by name',
      description:
        'Without a search, the first page begins with the targets that you opened last, beside the limit. With a search, names that start with it come first.',
      right: 'target.open',
      query: z.strictObject({
        ...pagingBy((name) => (name.length <= nameMax ? name : undefined)),
        search: text().min(1).max(nameMax).optional().meta({ description: 'A part of the name' }),
      }),
      reply: pageOf(targetShape).extend({
        total: z.int().optional().meta({ description: 'Of all pages; only the first page has it' }),
      }),
      async act({ query: { cursor, search, limit } }, { person }) {
        const { choices, next, total } = await access.listChoicesFor(person, {
          limit,
          ...(search !== undefined && { search: search.toLowerCase() }),
          ...(cursor !== undefined && { after: cursor }),
        })
        return {
          items: choices.map(({ name, lastAt }) => ({ name, lastAt: lastAt ?? null })),
          next: next === undefined ? null : cursorOf(next),
          ...(total !== undefined && { total }),
        }
      },
    }),
  ] satisfies readonly Route<WebIdentity, Act>[]
}
