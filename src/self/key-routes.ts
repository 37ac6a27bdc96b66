import { z } from 'zod'
import type { OwnKey, OwnKeys, StepUpPurpose, WebIdentity } from '../auth/index.ts'
import { pageOf, type Route, type RouteRight, routesFor, text } from '../http/index.ts'
import { callerOf } from './caller.ts'
import { givenName } from './given-name.ts'

export interface KeyRoutesDeps<Right extends RouteRight> {
  readonly keys: OwnKeys
  readonly right: { readonly read: Right; readonly change: Right }
}

const keyShape = z
  .object({
    id: z.string(),
    fingerprint: z.string(),
    type: z.string(),
    name: z.string(),
    createdAt: z.iso.datetime(),
    expiresAt: z.iso.datetime().nullable(),
    usedAt: z.iso.datetime().nullable().meta({ description: 'The last login, to the minute' }),
    verifyRequired: z
      .boolean()
      .meta({ description: 'Whether the security key must verify its user at each login' }),
    intact: z
      .boolean()
      .meta({ description: 'False: it was changed outside VaultTerm, and logs nobody in' }),
  })
  .meta({ id: 'SshKey' })

const answerOf = ({ expiresAt, usedAt, ...key }: OwnKey) => ({
  ...key,
  expiresAt: expiresAt ?? null,
  usedAt: usedAt ?? null,
})

const end = z.iso.datetime()

/** A person's own SSH keys. Administrators of the platform have none. */
export function keyRoutes<Right extends RouteRight>({ keys, right }: KeyRoutesDeps<Right>) {
  const route = routesFor<WebIdentity, Right, StepUpPurpose>()
  return [
    route({
      method: 'GET',
      path: '/api/v1/self/keys',
      summary: 'Your SSH keys, the oldest first',
      right: right.read,
      reply: pageOf(keyShape),
      // One person has at most a hundred by these routes.
      act: async (_asked, { person }) => ({
        items: (await keys.list(person)).map(answerOf),
        next: null,
      }),
    }),
    route({
      method: 'POST',
      path: '/api/v1/self/keys',
      summary: 'Add an SSH key: one line of a .pub file',
      right: right.change,
      stepUp: 'key.change',
      limit: { times: 30, seconds: 60 },
      body: z.strictObject({
        line: text().min(1).max(16_384),
        name: givenName.optional().meta({ description: 'The comment of the line if not given' }),
        expiresAt: end.optional(),
        verifyRequired: z.boolean().optional(),
      }),
      reply: keyShape,
      statuses: [201],
      act: async ({ body }, call) => answerOf(await keys.add(call.person, body, callerOf(call))),
    }),
    route({
      method: 'PATCH',
      path: '/api/v1/self/keys/{id}',
      summary: 'Change the name or the end of an SSH key; null takes the end away',
      right: right.change,
      stepUp: 'key.change',
      params: z.strictObject({ id: text().max(36) }),
      body: z.strictObject({ name: givenName.optional(), expiresAt: end.nullable().optional() }),
      reply: keyShape,
      act: async ({ params, body }, call) =>
        answerOf(await keys.change(call.person, params.id, body, callerOf(call))),
    }),
    route({
      method: 'DELETE',
      path: '/api/v1/self/keys/{id}',
      summary: 'Remove an SSH key and its certificates; sessions that began with them end',
      right: right.change,
      stepUp: 'key.change',
      params: z.strictObject({ id: text().max(36) }),
      reply: 'nothing',
      async act({ params }, call) {
        await keys.remove(call.person, params.id, callerOf(call))
        return undefined
      },
    }),
  ] satisfies readonly Route<WebIdentity, Right>[]
}
