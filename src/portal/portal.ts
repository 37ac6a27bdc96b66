import { readdir } from 'node:fs/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Access, Session } from '../access/index.ts'
import type { Audit } from '../audit/index.ts'
import type { Auth, WebIdentity } from '../auth/index.ts'
import {
  type Asset,
  allowPlayer,
  type Check,
  createHttp,
  createSignIn,
  type Html,
  RouteMissing,
  readAssets,
  serveAssets,
  shareChecks,
} from '../http/index.ts'
import type { Log } from '../log.ts'
import type { Metrics, MetricsPage } from '../metrics.ts'
import { parseSessionId, type Recorder } from '../recorder/index.ts'
import { openapi } from './openapi.ts'
import { sessionPage } from './session-page.ts'
import { sessionsPage } from './sessions-page.ts'

export interface PortalDeps {
  readonly auth: Pick<Auth, 'web'>
  readonly access: Pick<Access, 'sessions' | 'session'>
  readonly recorder: Pick<Recorder, 'open'>
  readonly audit: Pick<Audit, 'append'>
  readonly metrics: Metrics
  /** What `/metrics` prints: the figures of every process. */
  readonly page: MetricsPage
  readonly log: Log
  /** What people type into a browser; undefined where that is the listener itself. */
  readonly publicUrl: string | undefined
  /** What must be well for this process to be sent people. */
  readonly checks: { readonly [name: string]: Check }
}

const sessionsMax = 200
const htmlType = 'text/html; charset=utf-8'

/** The product listener: health, metrics, the API, and the pages of people who are signed in. */
export async function createPortal(deps: PortalDeps): Promise<FastifyInstance> {
  const { auth, access, recorder, audit, metrics, page, log, publicUrl, checks } = deps
  const app = createHttp({ listener: 'portal', publicUrl, log, metrics })
  serveAssets(app, await readAssets(await assets()))

  app.get('/health', async () => ({ status: 'ok' }))
  const ready = shareChecks(checks)
  app.get('/readyz', async (_request, reply) => {
    const report = await ready()
    return reply.code(report.ready ? 200 : 503).send(report)
  })
  app.get('/metrics', async (_request, reply) =>
    reply.type(page.contentType).send(await page.metrics()),
  )
  app.get('/api/v1/openapi.json', async () => openapi)

  const signIn = createSignIn<WebIdentity>({
    sessions: auth.web,
    cookie: 'vaultterm',
    https: publicUrl?.startsWith('https:') ?? false,
    howTo: 'vaultterm web-login TENANT USER',
  })
  signIn.routes(app)

  /** Another tenant's session and none at all are one answer: row security gives neither. */
  async function find(
    person: WebIdentity,
    request: FastifyRequest<{ Params: { id?: string } }>,
  ): Promise<Session> {
    const id = parseSessionId(request.params.id ?? '')
    const session = id === undefined ? undefined : await access.session(person.tenant, id)
    if (session === undefined) throw new RouteMissing()
    return session
  }

  app.get(
    '/',
    signIn.guarded(async (person, _request, reply) => {
      const sessions = await access.sessions(person.tenant, { limit: sessionsMax })
      return reply.type(htmlType).send(text(sessionsPage(person, sessions)))
    }),
  )
  app.get(
    '/sessions/:id',
    signIn.guarded(async (person, request, reply) => {
      const session = await find(person, request)
      if (session.recording) allowPlayer(reply)
      return reply.type(htmlType).send(text(sessionPage(person, session)))
    }),
  )
  app.get(
    '/api/v1/sessions',
    signIn.guarded(async (person) => access.sessions(person.tenant, { limit: sessionsMax })),
  )
  app.get(
    '/api/v1/sessions/:id',
    signIn.guarded(async (person, request) => find(person, request)),
  )
  app.get(
    '/api/v1/sessions/:id/recording.cast',
    signIn.guarded(async (person, request, reply) => {
      const session = await find(person, request)
      if (!session.recording) throw new RouteMissing()
      const id = parseSessionId(session.id)
      if (id === undefined) throw new RouteMissing()
      const recording = await recorder.open(person.tenant, id)
      try {
        // Nobody sees a recording unseen: the log knows before the first byte leaves.
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
      return reply
        .type('application/x-asciicast')
        .header('content-disposition', `inline; filename="${session.id}.cast"`)
        .send(recording)
    }),
  )
  return app
}

function text(document: Html): string {
  return document.toString()
}

/** The list of what anybody may have: our few files, and the player's modules as they are published. */
async function assets(): Promise<readonly Asset[]> {
  const web = new URL('../../web/', import.meta.url)
  const player = new URL('./', import.meta.resolve('asciinema-player'))
  const modules = (await readdir(player)).filter((name) => name.endsWith('.js'))
  return [
    { path: '/assets/style.css', file: new URL('shared/style.css', web) },
    { path: '/assets/icon.svg', file: new URL('shared/icon.svg', web) },
    { path: '/assets/times.js', file: new URL('shared/times.js', web) },
    { path: '/assets/replay.js', file: new URL('portal/replay.js', web) },
    { path: '/assets/player.css', file: new URL('bundle/asciinema-player.css', player) },
    ...modules.map(
      (name): Asset => ({ path: `/assets/player/${name}`, file: new URL(name, player) }),
    ),
  ]
}
