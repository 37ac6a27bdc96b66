import type { FastifyInstance } from 'fastify'
import { watchAnswer } from './answer-watch.ts'
import { BodyNotJson, RightMissing } from './errors.ts'
import type { RouteRight } from './rights.ts'
import { isStream, type Route } from './route.ts'
import type { SignIn } from './sign-in.ts'

/** The decision about a person, before anything of the request is read. */
export interface RouteDoor<Person, Right extends RouteRight> {
  readonly signIn: Pick<SignIn<Person>, 'guarded'>
  /** Whether the person has the right to anything at all. The act asks about the very thing. */
  allows(person: Person, right: Right): boolean
}

/**
 * Serves a list of routes. The order is the same for all: the person (401), the right (403), the parts of
 * the request (400), the act, the shape of its answer.
 */
export function serveRoutes<Person, Right extends RouteRight>(
  app: FastifyInstance,
  routes: readonly Route<Person, Right>[],
  { signIn, allows }: RouteDoor<Person, Right>,
): void {
  for (const { method, path, right, reply: replyShape, answer } of routes) {
    const type = isStream(replyShape) ? replyShape.stream : 'application/json; charset=utf-8'
    app.route<{ Params: { id?: string } }>({
      method,
      url: path.replaceAll(/\{(\w+)\}/g, ':$1'),
      config: { right },
      handler: signIn.guarded(async (person, request, reply) => {
        if (!allows(person, right)) throw new RightMissing()
        const { params, query, body } = request
        // A form has no fields that zod would see: an optional field in it would be left out in silence.
        if (body instanceof URLSearchParams) throw new BodyNotJson()
        const call = { person, source: request.ip }
        const { status, content } = await answer({ params, query, body }, call)
        reply.type(type).code(status)
        if (typeof content === 'string') return content
        watchAnswer(reply.raw, () => content.mayGoOn())
        const fileName = content.fileName.replaceAll(/[^\w.-]/g, '_')
        reply.header('content-disposition', `inline; filename="${fileName}"`)
        // The stream, not the reply: see Handler.
        return content.stream
      }),
    })
  }
}
