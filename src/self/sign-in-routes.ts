import { z } from 'zod'
import { relyingPartyOf } from '../auth/index.ts'
import { type Route, type RouteRight, routesFor } from '../http/index.ts'
import type { Plane, SelfDeps } from './self-deps.ts'
import { assertionBody, assertionOf, requestShape } from './webauthn-shapes.ts'

/** The ways to sign in, for anybody. */
export function signInRoutes<Right extends RouteRight, In extends Plane>({
  plane,
  people: { passkeyLogin },
  publicUrl,
}: Omit<SelfDeps<Right, In>, 'right'>) {
  const route = routesFor<undefined, 'anybody'>()
  return [
    route({
      method: 'POST',
      path: `/api/v1/${plane}sign-in/passkey/options` as const,
      summary: 'Begin to sign in by a passkey: what to ask the browser',
      right: 'anybody',
      limit: { times: 60, seconds: 60 },
      body: z.strictObject({}),
      reply: requestShape,
      act: (_asked, { origin }) => passkeyLogin.beginSignIn(relyingPartyOf(origin, publicUrl)),
    }),
    route({
      method: 'POST',
      path: `/api/v1/${plane}sign-in/passkey` as const,
      summary: 'Sign in by a passkey; the answer sets the cookie',
      right: 'anybody',
      limit: { times: 60, seconds: 60 },
      body: z.strictObject({ answer: assertionBody }),
      reply: 'nothing',
      async act({ body }, { origin, source, device, enter }) {
        const rp = relyingPartyOf(origin, publicUrl)
        const visitor = { source, device }
        await enter(await passkeyLogin.signIn(rp, assertionOf(body.answer), visitor))
        return undefined
      },
    }),
  ] satisfies readonly Route<undefined, 'anybody'>[]
}
