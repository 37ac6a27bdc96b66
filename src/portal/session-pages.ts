import type { FastifyInstance } from 'fastify'
import type { Access, Act } from '../access/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import { allowPlayer, type Html, RouteMissing, type SignIn } from '../http/index.ts'
import { sessionPage } from './session-page.ts'
import { sessionsPage } from './sessions-page.ts'

const sessionsMax = 200
const htmlType = 'text/html; charset=utf-8'
const readsSessions = { config: { right: 'session.read' satisfies Act } }

/** The pages of sessions: the list, and one session with its replay. */
export function addSessionPages(
  app: FastifyInstance,
  signIn: Pick<SignIn<WebIdentity>, 'guarded'>,
  access: Pick<Access, 'sessionsFor' | 'sessionFor'>,
): void {
  app.get(
    '/',
    readsSessions,
    signIn.guarded(async (person, _request, reply) => {
      const sessions = await access.sessionsFor(person, { limit: sessionsMax })
      reply.type(htmlType)
      return text(sessionsPage(person, sessions))
    }),
  )
  app.get(
    '/sessions/:id',
    readsSessions,
    signIn.guarded(async (person, request, reply) => {
      const session = await access.sessionFor(person, 'session.read', request.params.id ?? '')
      if (session === undefined) throw new RouteMissing()
      if (session.recording) allowPlayer(reply)
      reply.type(htmlType)
      return text(sessionPage(person, session))
    }),
  )
}

function text(document: Html): string {
  return document.toString()
}
