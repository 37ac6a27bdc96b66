import type { FastifyInstance } from 'fastify'
import { type Access, type Act, reachOf } from '../access/index.ts'
import type { Audit } from '../audit/index.ts'
import type { Auth, WebIdentity } from '../auth/index.ts'
import {
  type Checks,
  createHttp,
  createSignIn,
  describeRoutes,
  forAnybody,
  type HttpOptions,
  lookAssets,
  readAssets,
  readBuiltPages,
  serveAssets,
  serveOpenRoutes,
  serveRoutes,
  shareChecks,
} from '../http/index.ts'
import type { Log } from '../log.ts'
import type { Metrics, MetricsPage } from '../metrics.ts'
import type { Recorder } from '../recorder/index.ts'
import {
  certificateRoutes,
  keyRoutes,
  type OwnCertificates,
  passkeyRoutes,
  type SelfDeps,
  signInRoutes,
  stepUpRoutes,
  webSessionRoutes,
} from '../self/index.ts'
import { Downloads } from './downloads.ts'
import { memberRoutes } from './member-routes.ts'
import { addPages, type PagesDeps } from './pages.ts'
import { selfRoutes } from './self-routes.ts'
import { sessionRoutes } from './session-routes.ts'
import { targetRoutes } from './target-routes.ts'

export interface PortalDeps extends Pick<HttpOptions, 'starts'>, Pick<PagesDeps, 'ssh'> {
  readonly access: Pick<Access, 'sessionsFor' | 'sessionFor' | 'killSessionFor' | 'listChoicesFor'>
  readonly recorder: Pick<Recorder, 'open'>
  readonly audit: Pick<Audit, 'append'>
  readonly auth: Pick<Auth, 'web' | 'ownKeys' | 'members'>
  readonly ca: OwnCertificates
  readonly metrics: Metrics
  /** The output of `/metrics`: the metrics of every process. */
  readonly page: MetricsPage
  readonly log: Log
  /** The address that people type into a browser; undefined if it is the listener itself. */
  readonly publicUrl: string | undefined
  /** The directory of the built pages; that of this checkout if not given. */
  readonly pages?: URL
  /** The checks that must pass before people are sent to this process. */
  readonly checks: Checks
}

/** From src/ and from dist/ alike. */
const builtPages = new URL('../../web/dist/', import.meta.url)

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

/** The routes of the API with the types of their parts, for the pages that call them. */
export type PortalRoute = ReturnType<
  | typeof selfRoutes
  | typeof memberRoutes
  | typeof targetRoutes
  | typeof sessionRoutes
  | typeof signInRoutes<Act, ''>
  | typeof passkeyRoutes<Act, ''>
  | typeof stepUpRoutes<Act, ''>
  | typeof keyRoutes<Act>
  | typeof certificateRoutes<Act>
  | typeof webSessionRoutes<Act, ''>
>[number]

/** The product listener: health, metrics, the API, and the pages for signed-in users. */
export async function createPortal(deps: PortalDeps): Promise<FastifyInstance> {
  const { auth, metrics, page, log, publicUrl, checks, starts } = deps
  const app = createHttp({ listener: 'portal', publicUrl, log, metrics, starts })
  const built = await readBuiltPages(deps.pages ?? builtPages)
  if (built === undefined) log.warn({ remedy: 'bin/run build' }, 'the pages were not built')
  serveAssets(app, await readAssets([...lookAssets, ...(built?.assets ?? [])]))

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
    files: built?.page('sign-in'),
    renewedOf: ({ renewed }) => renewed,
    ownerOf: ({ tenant, user }) => ({ tenant, user: user.id }),
  })
  signIn.routes(app)

  const { access, recorder, audit, ca } = deps
  const self = {
    plane: '',
    people: auth.web,
    right: { read: 'self.read', change: 'self.change' },
    publicUrl,
  } as const satisfies SelfDeps<Act, ''>
  const openRoutes = signInRoutes(self)
  serveOpenRoutes(app, openRoutes, { signIn })
  const routes = [
    ...selfRoutes(),
    ...webSessionRoutes<Act, ''>(self),
    ...passkeyRoutes<Act, ''>(self),
    ...stepUpRoutes<Act, ''>(self),
    ...keyRoutes<Act>({ keys: auth.ownKeys, right: self.right }),
    ...certificateRoutes<Act>({ ca, people: auth.web, right: self.right }),
    ...memberRoutes({ members: auth.members }),
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
  addPages(app, signIn, { access, built, ssh: deps.ssh })
  return app
}
