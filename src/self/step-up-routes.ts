import { z } from 'zod'
import {
  relyingPartyOf,
  type StepUpPurpose,
  stepUpPurposes,
  type WebIdentity,
} from '../auth/index.ts'
import { type Route, type RouteRight, routesFor } from '../http/index.ts'
import type { Plane, SelfDeps } from './self-deps.ts'
import { assertionBody, assertionOf, requestShape } from './webauthn-shapes.ts'

const purpose = z.enum(stepUpPurposes).meta({
  id: 'StepUpPurpose',
  description: 'What the proof is for. A refusal with the status 428 says which one is needed',
})

/** Fresh proofs of a person that it is them: each for one purpose, in this web session, for 300 s. */
export function stepUpRoutes<Right extends RouteRight, In extends Plane>({
  plane,
  people: { passkeyLogin },
  right,
  publicUrl,
}: SelfDeps<Right, In>) {
  const route = routesFor<WebIdentity, Right, StepUpPurpose>()
  return [
    route({
      method: 'POST',
      path: `/api/v1/${plane}self/step-up/passkey/options` as const,
      summary: 'Begin to confirm by a passkey that it is you: what to ask the browser',
      right: right.change,
      limit: { times: 30, seconds: 60 },
      body: z.strictObject({ purpose }),
      reply: requestShape,
      act: ({ body }, { person, origin }) =>
        passkeyLogin.beginStepUp(person, relyingPartyOf(origin, publicUrl), body.purpose),
    }),
    route({
      method: 'POST',
      path: `/api/v1/${plane}self/step-up/passkey` as const,
      summary: 'Confirm by a passkey that it is you; the cookie of the web session is a new one',
      right: right.change,
      limit: { times: 30, seconds: 60 },
      body: z.strictObject({ purpose, answer: assertionBody }),
      reply: z.object({ purpose, expiresAt: z.iso.datetime() }),
      async act({ body }, { person, origin, source, device, enter }) {
        const rp = relyingPartyOf(origin, publicUrl)
        const wish = { purpose: body.purpose, answer: assertionOf(body.answer) }
        const proof = await passkeyLogin.stepUp(person, rp, wish, { source, device })
        await enter(proof.cookie)
        return { purpose: body.purpose, expiresAt: proof.expiresAt }
      },
    }),
  ] satisfies readonly Route<WebIdentity, Right>[]
}
