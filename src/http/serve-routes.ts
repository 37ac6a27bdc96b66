import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { sourceOf } from '../address.ts'
import { watchAnswer } from './answer-watch.ts'
import { BodyNotJson, RightMissing, StepUpRequired, TooOften } from './errors.ts'
import { originOf } from './origin.ts'
import { RateLimit } from './rate-limit.ts'
import type { RouteRight } from './rights.ts'
import { type BeginCall, isStream, type Route, type RouteAnswer, type RouteCall } from './route.ts'
import type { SignIn } from './sign-in.ts'
import { deviceOf } from './visitor.ts'

/** The decisions about a person, before anything of the request is read, and after all of it was. */
export interface RouteDoor<Person, Right extends RouteRight> {
  readonly signIn: Pick<SignIn<Person>, 'guarded' | 'enter' | 'ownerOf'>
  /** Whether the person has the right to anything at all. The act asks about the very thing. */
  allows(person: Person, right: Right): boolean
  /** How the person proved, freshly and for this purpose, that it is them; undefined if they did not. */
  stepUp?(person: Person, purpose: string): Promise<string | undefined>
}

/** One address has many people behind it. */
const peoplePerSource = 8

type Request = FastifyRequest<{ Params: { id?: string } }>

/**
 * Serves a list of routes. The order is the same for all: the limit of the address (429), the person (401),
 * the limit of the person (429), the right (403), the parts of the request (400), the fresh proof (428), the
 * act, the shape of its answer.
 */
export function serveRoutes<Person, Right extends RouteRight>(
  app: FastifyInstance,
  routes: readonly Route<Person, Right>[],
  { signIn, allows, stepUp = async () => undefined }: RouteDoor<Person, Right>,
): void {
  for (const route of routes) {
    const { method, right, stepUp: purpose } = route
    const limits = limitsOf(route, peoplePerSource)
    const proofOf = async (person: Person) => {
      if (purpose === undefined) return undefined
      const proof = await stepUp(person, purpose)
      if (proof === undefined) throw new StepUpRequired(purpose)
      return proof
    }
    const handler = signIn.guarded(async (person, request: Request, reply) => {
      const { tenant, user } = signIn.ownerOf(person)
      limits.person(`${tenant} ${user}`)
      if (!allows(person, right)) throw new RightMissing()
      return send(route, request, reply, async (once) => ({
        ...circumstances(signIn, request, reply),
        person,
        once,
        stepUp: await proofOf(person),
      }))
    })
    app.route<{ Params: { id?: string } }>({
      method,
      url: urlOf(route),
      config: { right },
      // Before any look-up. A client that goes on asking costs no more than this.
      onRequest: async ({ ip }) => limits.source(ip),
      handler,
    })
  }
}

/** The same for routes that need no person: those that sign one in. They wait in line for the database. */
export function serveOpenRoutes<Person>(
  app: FastifyInstance,
  routes: readonly Route<undefined, 'anybody'>[],
  { signIn }: { readonly signIn: Pick<SignIn<Person>, 'open' | 'enter'> },
): void {
  for (const route of routes) {
    const limits = limitsOf(route, 1)
    app.route<{ Params: { id?: string } }>({
      method: route.method,
      url: urlOf(route),
      config: { right: route.right },
      onRequest: async ({ ip }) => limits.source(ip),
      handler: signIn.open((request, reply) =>
        send(route, request, reply, async (once) => ({
          ...circumstances(signIn, request, reply),
          person: undefined,
          once,
          stepUp: undefined,
        })),
      ),
    })
  }
}

type AnyRoute<Person> = Route<Person, RouteRight>

function urlOf({ path }: { readonly path: string }): string {
  return path.replaceAll(/\{(\w+)\}/g, ':$1')
}

async function send<Person>(
  route: Pick<AnyRoute<Person>, 'reply' | 'answer'>,
  request: Request,
  reply: FastifyReply,
  begin: BeginCall<Person>,
): Promise<unknown> {
  const { params, query, body, headers } = request
  // A form has no fields that zod would see: an optional field in it would be left out in silence.
  if (body instanceof URLSearchParams) throw new BodyNotJson()
  const input = { params, query, body, key: headers['idempotency-key'] }
  return fill(route, reply, await route.answer(input, begin))
}

function fill<Person>(
  { reply: shape }: Pick<AnyRoute<Person>, 'reply'>,
  reply: FastifyReply,
  { status, content }: RouteAnswer,
): unknown {
  reply.code(status)
  if (content === undefined) return reply.send()
  reply.type(isStream(shape) ? shape.stream : 'application/json; charset=utf-8')
  if (typeof content === 'string') return content
  watchAnswer(reply.raw, () => content.mayGoOn())
  const fileName = content.fileName.replaceAll(/[^\w.-]/g, '_')
  reply.header('content-disposition', `inline; filename="${fileName}"`)
  // The stream, not the reply: see Handler.
  return content.stream
}

function circumstances<Person>(
  signIn: Pick<SignIn<Person>, 'enter'>,
  request: Request,
  reply: FastifyReply,
): Pick<RouteCall<Person>, 'source' | 'device' | 'origin' | 'enter'> {
  return {
    source: request.ip,
    device: deviceOf(request),
    origin: originOf(request),
    enter: (cookie) => signIn.enter(request, reply, cookie),
  }
}

/** Each throws TooOften. */
function limitsOf({ limit }: { readonly limit?: AnyRoute<unknown>['limit'] }, perSource: number) {
  const none = (_key: string) => {}
  if (limit === undefined) return { person: none, source: none }
  const { times, seconds } = limit
  const [people, sources] = [
    new RateLimit(limit),
    new RateLimit({ times: times * perSource, seconds }),
  ]
  const take = (counter: RateLimit, key: string) => {
    const waitSeconds = counter.take(key)
    if (waitSeconds > 0) throw new TooOften(waitSeconds)
  }
  return {
    person: (key: string) => take(people, key),
    source: (ip: string) => take(sources, sourceOf(ip)),
  }
}
