import type { FastifyInstance } from 'fastify'
import type { AdminAuth, WebIdentity } from '../auth/index.ts'
import {
  type CheckReport,
  type Checks,
  createHttp,
  createSignIn,
  describeRoutes,
  forAnybody,
  type HttpOptions,
  lookAssets,
  readAssets,
  runChecks,
  serveAssets,
  serveOpenRoutes,
  serveRoutes,
} from '../http/index.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import {
  passkeyRoutes,
  type SelfDeps,
  signInRoutes,
  stepUpRoutes,
  webSessionRoutes,
} from '../self/index.ts'
import type { Tenants } from '../tenant/index.ts'
import type { Vault } from '../vault/index.ts'
import { type AdminRight, adminRoutes } from './admin-routes.ts'
import { overviewPage } from './overview-page.ts'

export interface AdminDeps extends Pick<HttpOptions, 'starts'> {
  readonly adminAuth: AdminAuth
  readonly tenants: Pick<Tenants, 'list'>
  readonly vault: Pick<Vault, 'status'>
  readonly metrics: Metrics
  readonly log: Log
  readonly publicUrl: string | undefined
  readonly checks: Checks
}

const forAdministrators = { config: { right: 'administrator' satisfies AdminRight } }

/** The admin plane, on its own listener: the product's listener serves none of its routes. */
export async function createAdmin(deps: AdminDeps): Promise<FastifyInstance> {
  const { adminAuth, tenants, vault, metrics, log, publicUrl, checks, starts } = deps
  const app = createHttp({ listener: 'admin', publicUrl, log, metrics, starts })
  serveAssets(app, await readAssets(lookAssets))
  const signIn = createSignIn<WebIdentity>({
    sessions: adminAuth,
    cookie: 'vaultterm-admin',
    https: publicUrl?.startsWith('https:') ?? false,
    howTo: 'vaultterm web-login --admin NAME',
    console: 'Admin',
    renewedOf: ({ renewed }) => renewed,
    ownerOf: ({ user }) => ({ tenant: '', user: user.id }),
  })
  signIn.routes(app)

  const report = (): Promise<CheckReport> => runChecks(checks)
  app.get('/health', forAnybody, async () => ({ status: 'ok' }))
  app.get(
    '/',
    forAdministrators,
    signIn.guarded(async (person, _request, reply) => {
      const [list, status, health] = await Promise.all([tenants.list(), vault.status(), report()])
      const document = overviewPage(person, { tenants: list, vault: status, health })
      reply.type('text/html; charset=utf-8')
      return document.toString()
    }),
  )
  const self = {
    plane: 'admin/',
    people: adminAuth,
    right: { read: 'administrator', change: 'administrator' },
    publicUrl,
  } as const satisfies SelfDeps<AdminRight, 'admin/'>
  const openRoutes = signInRoutes(self)
  serveOpenRoutes(app, openRoutes, { signIn })
  const routes = [
    ...adminRoutes({ tenants, vault }),
    ...webSessionRoutes<AdminRight, 'admin/'>(self),
    ...passkeyRoutes<AdminRight, 'admin/'>(self),
    ...stepUpRoutes<AdminRight, 'admin/'>(self),
  ]
  serveRoutes(app, routes, {
    signIn,
    allows: () => true,
    stepUp: (person, purpose) => adminAuth.stepUp(person, purpose),
  })
  const document = describeRoutes([...openRoutes, ...routes], {
    title: 'VaultTerm admin',
    cookie: 'vaultterm-admin',
  })
  app.get('/api/v1/admin/openapi.json', forAnybody, async () => document)
  return app
}
