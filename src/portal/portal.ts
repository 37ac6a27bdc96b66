import { readdir } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'
import { type Access, type Act, reachOf } from '../access/index.ts'
import type { Audit } from '../audit/index.ts'
import type { Auth, WebIdentity } from '../auth/index.ts'
import {
  type Asset,
  type Check,
  createHttp,
  createSignIn,
  describeRoutes,
  forAnybody,
  type HttpOptions,
  readAssets,
  serveAssets,
  serveOpenRoutes,
  serveRoutes,
  shareChecks,
} from '../http/index.ts'
import type { Log } from '../log.ts'
import type { Metrics, MetricsPage } from '../metrics.ts'
import type { Recorder } from '../recorder/index.ts'
import {
  keyRoutes,
  passkeyRoutes,
  type SelfDeps,
  signInRoutes,
  stepUpRoutes,
  webSessionRoutes,
} from '../self/index.ts'
import { Downloads } from './downloads.ts'
import { selfRoutes } from './self-routes.ts'
import { addSessionPages } from './session-pages.ts'
import { sessionRoutes } from './session-routes.ts'
import { targetRoutes } from './target-routes.ts'

export interface PortalDeps extends Pick<HttpOptions, 'work' | 'starts'> {
  readonly access: Pick<Access, 'sessionsFor' | 'sessionFor' | 'killSessionFor' | 'listChoicesFor'>
  readonly recorder: Pick<Recorder, 'open'>
  readonly audit: Pick<Audit, 'append'>
  readonly auth: Pick<Auth, 'web' | 'ownKeys'>
  readonly metrics: Metrics
  /** The output of `/metrics`: the metrics of every process. */
  readonly page: MetricsPage
  readonly log: Log
  /** The address that people type into a browser; undefined if it is the listener itself. */
  readonly publicUrl: string | undefined
  /** The checks that must pass before people are sent to this process. */
  readonly checks: { readonly [name: string]: Check }
}

/** Of the document: these are for programs that watch the process. */
const health = {
  '/health': {
    get: { security: [], responses: { 200: { description: 'The process answers' } } },
  },
  '/readyz': {
    get: {
      security: [],
      responses: {
        200: { description: 'Ready for people' },
        503: { description: 'A required service does not work' },
      },
    },
  },
}

/** The product listener: health, metrics, the API, and the pages for signed-in users. */
export async function createPortal(deps: PortalDeps): Promise<FastifyInstance> {
  const { auth, metrics, page, log, publicUrl, checks, work, starts } = deps
  const app = createHttp({ listener: 'portal', publicUrl, log, metrics, work, starts })
  serveAssets(app, await readAssets(await assets()))

  app.get('/health', forAnybody, async () => ({ status: 'ok' }))
  const ready = shareChecks(checks)
  app.get('/readyz', forAnybody, async (_request, reply) => {
    const report = await ready()
    return reply.code(report.ready ? 200 : 503).send(report)
  })
  app.get('/metrics', forAnybody, async (_request, reply) =>
    reply.type(page.contentType).send(await page.metrics()),
  )

  const signIn = createSignIn<WebIdentity>({
    sessions: auth.web,
    cookie: 'vaultterm',
    https: publicUrl?.startsWith('https:') ?? false,
    howTo: 'vaultterm web-login TENANT USER',
    renewedOf: ({ renewed }) => renewed,
    ownerOf: ({ tenant, user }) => ({ tenant, user: user.id }),
  })
  signIn.routes(app)

  const { access, recorder, audit } = deps
  const self = {
    base: '/api/v1',
    people: auth.web,
    right: { read: 'self.read', change: 'self.change' },
    publicUrl,
  } as const satisfies SelfDeps<Act>
  const openRoutes = signInRoutes(self)
  serveOpenRoutes(app, openRoutes, { signIn })
  const routes = [
    ...selfRoutes(),
    ...webSessionRoutes<Act>(self),
    ...passkeyRoutes<Act>(self),
    ...stepUpRoutes<Act>(self),
    ...keyRoutes<Act>({ keys: auth.ownKeys, right: self.right }),
    ...targetRoutes({ access }),
    ...sessionRoutes({ access, downloads: new Downloads(recorder, audit) }),
  ]
  serveRoutes(app, routes, {
    signIn,
    allows: (person, right) => reachOf(person, right) !== 'none',
    stepUp: (person, purpose) => auth.web.stepUp(person, purpose),
  })
  const document = describeRoutes([...openRoutes, ...routes], {
    title: 'VaultTerm',
    cookie: 'vaultterm',
    paths: health,
  })
  app.get('/api/v1/openapi.json', forAnybody, async () => document)
  addSessionPages(app, signIn, access)
  return app
}

/** The public files: our own, and the player's modules as they are published. */
async function assets(): Promise<readonly Asset[]> {
  const web = new URL('../../web/', import.meta.url)
  const player = new URL('./', import.meta.resolve('asciinema-player'))
  const modules = (await readdir(player)).filter((name) => name.endsWith('.js'))
  // The name of this one has a digest in it. Our driver of the player is built on it.
  const core = modules.find((name) => name.startsWith('core-'))
  if (core === undefined) throw new Error('the player has no core')
  return [
    { path: '/assets/style.css', file: new URL('shared/style.css', web) },
    { path: '/assets/icon.svg', file: new URL('shared/icon.svg', web) },
    { path: '/assets/times.js', file: new URL('shared/times.js', web) },
    ...['replay', 'replay-notes', 'recording', 'paced-driver', 'terminal-text'].map(
      (name): Asset => ({ path: `/assets/${name}.js`, file: new URL(`portal/${name}.js`, web) }),
    ),
    { path: '/assets/player.css', file: new URL('bundle/asciinema-player.css', player) },
    ...modules.map(
      (name): Asset => ({ path: `/assets/player/${name}`, file: new URL(name, player) }),
    ),
    { path: '/assets/player/core.js', file: new URL(core, player) },
  ]
}
