import { z } from 'zod'
import type { StepUpPurpose, WebIdentity } from '../auth/index.ts'
import { pageOf, type Route, type RouteRight, routesFor, text } from '../http/index.ts'
import { callerOf } from './caller.ts'
import type { Plane, SelfDeps } from './self-deps.ts'

const webSessionShape = z
  .object({
    id: z.string(),
    current: z.boolean().meta({ description: 'Whether it is the one that asks' }),
    proof: z.enum(['link', 'passkey']).meta({ description: 'How it began' }),
    provedAt: z.iso.datetime().meta({ description: 'When it last proved who it is' }),
    createdAt: z.iso.datetime(),
    seenAt: z.iso.datetime(),
    expiresAt: z.iso.datetime(),
    device: z.string().meta({ description: 'As the browser calls itself: anybody can write it' }),
    source: z.string().meta({ description: 'The address that it signed in from' }),
  })
  .meta({ id: 'WebSession' })

/** Where a person is signed in. */
export function webSessionRoutes<Right extends RouteRight, In extends Plane>({
  plane,
  people: { sessions },
  right,
}: SelfDeps<Right, In>) {
  const route = routesFor<WebIdentity, Right, StepUpPurpose>()
  return [
    route({
      method: 'GET',
      path: `/api/v1/${plane}self/web-sessions` as const,
      summary: 'The browsers in which you are signed in, the last used first',
      right: right.read,
      reply: pageOf(webSessionShape),
      act: async (_asked, { person }) => ({
        items: [...(await sessions.list(person))],
        // One person has at most a hundred.
        next: null,
      }),
    }),
    route({
      method: 'DELETE',
      path: `/api/v1/${plane}self/web-sessions/{id}` as const,
      summary: 'Sign one of your browsers out',
      right: right.change,
      params: z.strictObject({ id: text().max(36) }),
      reply: 'nothing',
      async act({ params }, call) {
        await sessions.endOne(call.person, params.id, callerOf(call))
        return undefined
      },
    }),
    route({
      method: 'POST',
      path: `/api/v1/${plane}self/web-sessions/end-others` as const,
      summary: 'Sign all of your browsers out but this one',
      right: right.change,
      body: z.strictObject({}),
      reply: z.object({ ended: z.int() }),
      act: async (_asked, call) => ({
        ended: await sessions.endOthers(call.person, callerOf(call)),
      }),
    }),
  ] satisfies readonly Route<WebIdentity, Right>[]
}
