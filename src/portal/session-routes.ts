import { z } from 'zod'
import { type Access, type Act, channelKinds, type Session } from '../access/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import {
  cutPage,
  pageOf,
  pagingBy,
  type Route,
  RouteMissing,
  routesFor,
  text,
} from '../http/index.ts'
import { parseSessionId } from '../recorder/index.ts'
import { callerOf } from '../self/index.ts'
import type { Downloads } from './downloads.ts'
import { SessionNotLive } from './errors.ts'
import { sessionShape } from './session-shape.ts'

export interface SessionRoutesDeps {
  readonly access: Pick<Access, 'sessionsFor' | 'sessionFor' | 'killSessionFor'>
  readonly downloads: Downloads
}

const route = routesFor<WebIdentity, Act>()

const description =
  'Owners, admins and auditors see every session of their tenant; members see their own. For any other the answer is 404.'
const params = z.strictObject({ id: z.string() })
const name = text().min(1).max(64)

/** Without controls: it is shown on terminals. */
const printable = /^[^\p{C}]*$/u

const filters = z.strictObject({
  ...pagingBy(parseSessionId),
  live: z
    .stringbool()
    .optional()
    .meta({ description: 'true: only live ones; false: only ended ones' }),
  user: name.optional().meta({ description: 'The name of a user, as it was at the time' }),
  target: name.optional().meta({ description: 'The name of a target, as it was at the time' }),
  kind: z.enum(channelKinds).optional(),
})

/** The sessions of a tenant, for those of its people who may see them. */
export function sessionRoutes({ access, downloads }: SessionRoutesDeps) {
  /** Another tenant's session, one that the person may not see, and none at all are the same answer. */
  async function find(person: WebIdentity, act: Act, id: string): Promise<Session> {
    const session = await access.sessionFor(person, act, id)
    if (session === undefined) throw new RouteMissing()
    return session
  }

  return [
    route({
      method: 'GET',
      path: '/api/v1/sessions',
      summary: 'The sessions that you may see, newest first',
      description,
      right: 'session.read',
      query: filters,
      reply: pageOf(sessionShape),
      async act({ query: { cursor, limit, ...filter } }, { person }) {
        const list = { ...filter, before: cursor, limit: limit + 1 }
        return cutPage(await access.sessionsFor(person, list), limit, ({ id }) => id)
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/sessions/{id}',
      summary: 'One session',
      description,
      right: 'session.read',
      params,
      reply: sessionShape,
      act: ({ params }, { person }) => find(person, 'session.read', params.id),
    }),
    route({
      method: 'POST',
      path: '/api/v1/sessions/{id}/end',
      summary: 'End a live session. Its user reads the reason, and the audit log has it',
      description:
        'Owners and admins end every session of their tenant; members and auditors end their own. For any other the answer is 404.',
      right: 'session.end',
      params,
      body: z.strictObject({
        reason: z
          .string()
          .regex(printable)
          .min(1)
          .max(200)
          .optional()
          .meta({ description: 'For the user and the log' }),
      }),
      statuses: [202],
      reply: z.object({ id: z.string() }),
      async act({ params: { id }, body }, call) {
        const { person } = call
        const why = body.reason === undefined ? '' : `: ${body.reason}`
        const told = `${person.user.name} ended this session${why}`
        const result = await access.killSessionFor(person, id, told, callerOf(call))
        if (result === 'unknown') throw new RouteMissing()
        if (result === 'not-live') throw new SessionNotLive()
        return { id }
      },
    }),
    route({
      method: 'GET',
      path: '/api/v1/sessions/{id}/recording.cast',
      summary: 'Its recording: asciicast v3. Each reading is on the audit log',
      description,
      right: 'recording.read',
      params,
      reply: { stream: 'application/x-asciicast' },
      async act({ params }, { person, source }) {
        const session = await find(person, 'recording.read', params.id)
        if (!session.recording) throw new RouteMissing()
        const stream = await downloads.open(person, session, source)
        const mayGoOn = async () =>
          (await access.sessionFor(person, 'recording.read', session.id)) !== undefined
        return { stream, fileName: `${session.id}.cast`, mayGoOn }
      },
    }),
  ] satisfies readonly Route<WebIdentity, Act>[]
}
