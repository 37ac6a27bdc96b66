import type { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Access, Act, Session } from '../access/index.ts'
import { type Audit, LogPace, type LogPaceLimits } from '../audit/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import { Headcount } from '../headcount.ts'
import { allowPlayer, type Html, RouteMissing, type SignIn } from '../http/index.ts'
import type { Recorder } from '../recorder/index.ts'
import { TooManyDownloads, TooManyReplays } from './errors.ts'
import { sessionPage } from './session-page.ts'
import { sessionsPage } from './sessions-page.ts'

export interface SessionRoutesDeps {
  readonly access: Pick<Access, 'sessionsFor' | 'sessionFor'>
  readonly recorder: Pick<Recorder, 'open'>
  readonly audit: Pick<Audit, 'append'>
}

/** Answers a request about one session that the person may act on. */
type Answer = (asked: {
  readonly person: WebIdentity
  readonly session: Session
  readonly request: FastifyRequest
  readonly reply: FastifyReply
}) => Promise<unknown>

const sessionsMax = 200
/** Recordings that one user has sent to them at the same time. */
const downloadsMax = 8
/** Recordings that one user opens: each is an entry of the log. */
const opens: LogPaceLimits = { perSecond: 1, burst: 60 }
const htmlType = 'text/html; charset=utf-8'

/** The pages and the API of sessions: the list, one session, and its recording. */
export function addSessionRoutes(
  app: FastifyInstance,
  signIn: Pick<SignIn<WebIdentity>, 'guarded'>,
  { access, recorder, audit }: SessionRoutesDeps,
): void {
  const downloads = new Headcount(downloadsMax)
  const pace = new LogPace(opens)

  /** One more download of the person until the stream is closed. */
  async function openFor({ tenant, user }: WebIdentity, session: Session): Promise<Readable> {
    if (!downloads.enter(user.id)) throw new TooManyDownloads(downloadsMax)
    try {
      if (!pace.takeNow(user.id, 1)) throw new TooManyReplays()
      const recording = await recorder.open(tenant, session.id, session.recordingBytes)
      recording.once('close', () => downloads.leave(user.id))
      return recording
    } catch (err) {
      downloads.leave(user.id)
      throw err
    }
  }

  const list = (person: WebIdentity) => access.sessionsFor(person, { limit: sessionsMax })

  /**
   * The act is the route's right, and the handler runs only if it is allowed. A session that the
   * person may not see, one of another tenant, and one that does not exist get the same answer.
   */
  function addSession(path: string, act: Act, answer: Answer): void {
    const handler = signIn.guarded(async (person, request, reply) => {
      const session = await access.sessionFor(person, act, request.params.id ?? '')
      if (session === undefined) throw new RouteMissing()
      return answer({ person, session, request, reply })
    })
    app.get(path, { config: { right: act } }, handler)
  }

  const readsSessions = { config: { right: 'session.read' satisfies Act } }
  app.get(
    '/',
    readsSessions,
    signIn.guarded(async (person, _request, reply) => {
      const sessions = await list(person)
      reply.type(htmlType)
      return text(sessionsPage(person, sessions))
    }),
  )
  app.get('/api/v1/sessions', readsSessions, signIn.guarded(list))
  addSession('/sessions/:id', 'session.read', async ({ person, session, reply }) => {
    if (session.recording) allowPlayer(reply)
    reply.type(htmlType)
    return text(sessionPage(person, session))
  })
  addSession('/api/v1/sessions/:id', 'session.read', async ({ session }) => session)
  addSession(
    '/api/v1/sessions/:id/recording.cast',
    'recording.read',
    async ({ person, session, request, reply }) => {
      if (!session.recording) throw new RouteMissing()
      const recording = await openFor(person, session)
      try {
        // The log knows of every reader before the first byte leaves.
        await audit.append(person.tenant, {
          type: 'recording.open',
          public: {
            session: session.id,
            user: person.user.id,
            via: 'portal',
            actor: person.user.id,
            actorKind: 'user',
          },
          private: { userName: person.user.name, source: request.ip },
        })
      } catch (err) {
        recording.destroy()
        throw err
      }
      reply.type('application/x-asciicast')
      reply.header('content-disposition', `inline; filename="${session.id}.cast"`)
      // The stream, not the reply: see Handler.
      return recording
    },
  )
}

function text(document: Html): string {
  return document.toString()
}
