import { z } from 'zod'
import {
  type Passkey,
  relyingPartyOf,
  type StepUpPurpose,
  type WebIdentity,
} from '../auth/index.ts'
import { pageOf, type Route, type RouteRight, routesFor, text } from '../http/index.ts'
import { callerOf } from './caller.ts'
import { givenName } from './given-name.ts'
import type { Plane, SelfDeps } from './self-deps.ts'
import { attestationBody, attestationOf, creationShape } from './webauthn-shapes.ts'

const passkeyShape = z
  .object({
    id: z.string(),
    name: z.string(),
    createdAt: z.iso.datetime(),
    usedAt: z.iso.datetime().nullable(),
    synced: z.boolean().meta({ description: 'Whether its maker may copy it to other devices' }),
    transports: z.array(z.string()),
  })
  .meta({ id: 'Passkey' })

const answerOf = ({ usedAt, transports, ...passkey }: Passkey) => ({
  ...passkey,
  usedAt: usedAt ?? null,
  transports: [...transports],
})

/** A person's passkeys. */
export function passkeyRoutes<Right extends RouteRight, In extends Plane>({
  plane,
  people: { passkeys },
  right,
  publicUrl,
}: SelfDeps<Right, In>) {
  const route = routesFor<WebIdentity, Right, StepUpPurpose>()
  return [
    route({
      method: 'GET',
      path: `/api/v1/${plane}self/passkeys` as const,
      summary: 'Your passkeys, the oldest first',
      right: right.read,
      reply: pageOf(passkeyShape),
      act: async (_asked, { person }) => ({
        items: (await passkeys.list(person)).map(answerOf),
        // One person has at most twenty.
        next: null,
      }),
    }),
    route({
      method: 'POST',
      path: `/api/v1/${plane}self/passkeys/options` as const,
      summary: 'Begin to add a passkey: what to ask the browser',
      right: right.change,
      stepUp: 'factor.change',
      limit: { times: 20, seconds: 60 },
      body: z.strictObject({}),
      reply: creationShape,
      act: (_asked, { person, origin }) =>
        passkeys.begin(person, relyingPartyOf(origin, publicUrl)),
    }),
    route({
      method: 'POST',
      path: `/api/v1/${plane}self/passkeys` as const,
      summary: 'Add the passkey that the browser made; your other browsers are signed out',
      right: right.change,
      stepUp: 'factor.change',
      limit: { times: 20, seconds: 60 },
      body: z.strictObject({ name: givenName, answer: attestationBody }),
      reply: passkeyShape,
      statuses: [201],
      async act({ body: { name, answer } }, call) {
        const rp = relyingPartyOf(call.origin, publicUrl)
        const made = { name, answer: attestationOf(answer) }
        return answerOf(await passkeys.add(call.person, rp, made, callerOf(call)))
      },
    }),
    route({
      method: 'DELETE',
      path: `/api/v1/${plane}self/passkeys/{id}` as const,
      summary: 'Remove a passkey; your other browsers are signed out',
      description:
        'The last one is removed only with `lastWayIn=true`: after that, nothing but a link of an operator signs you in.',
      right: right.change,
      stepUp: 'factor.change',
      params: z.strictObject({ id: text().max(36) }),
      query: z.strictObject({ lastWayIn: z.literal('true').optional() }),
      reply: 'nothing',
      async act({ params, query }, call) {
        const lastWayIn = query.lastWayIn === 'true'
        await passkeys.remove(call.person, params.id, { lastWayIn }, callerOf(call))
        return undefined
      },
    }),
  ] satisfies readonly Route<WebIdentity, Right>[]
}
