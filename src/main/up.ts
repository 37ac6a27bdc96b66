import { openProduct, type Product, recordingsDirectory, startApp } from '../app.ts'
import type { Config, Listen } from '../config.ts'
import {
  claimHome,
  type Demo,
  type Home,
  HomeInUse,
  homePaths,
  keepHostKeys,
  keepNodeName,
  readRun,
  startDemo,
} from '../local/index.ts'
import type { Log } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { formatAddress, formatUrl, localAddress } from './address.ts'
import { startDatastores } from './datastores.ts'
import { workersOf } from './fork.ts'
import { formatPage } from './page.ts'
import { runUntilStopped } from './run.ts'

/** Another command may be at work on the home, for a moment; another `up` stays. */
const claimMs = 15_000

/**
 * Runs a whole installation on this machine, with what it needs and the settings do not name. Says
 * where, once it accepts connections: as one line for programs, or as a page for people.
 */
export function up(options: {
  readonly config: Config
  readonly log: Log
  readonly json: boolean
  readonly print: (text: string) => void
}): Promise<number> {
  const { log, json, print } = options
  const config = exemptThisMachine(options.config)
  return runUntilStopped(config, log, async ({ closing, throwIfStopped }) => {
    const home = await claim(config.home)
    closing.defer(() => home.release())
    const datastores = await startDatastores(config, { home, log, closing })
    throwIfStopped()
    const product = await openProduct(datastores, {
      log,
      metrics: createMetrics(),
      egress: config.egress,
      serve: { node: await keepNodeName(home.paths.node), leaseMs: config.nodeLeaseMs },
    })
    closing.defer(() => product.close())
    const demo = await startDemo(home.paths.demo, product)
    if (demo !== undefined) closing.defer(() => demo.close())
    throwIfStopped()
    const hostKeys = () => keepHostKeys(home.paths.hostKeys)
    // Made before workers read them, each for itself.
    await hostKeys()
    const fork = workersOf(recordingsDirectory(datastores))
    const app = await startApp({ config, datastores, product, hostKeys, fork })
    closing.defer(() => app.close())
    const { ssh, portal, admin } = app.ready
    const facts = {
      ssh: formatAddress(ssh),
      portal: formatUrl(portal),
      admin: formatUrl(admin),
    }
    await demo?.pointTo({ ...localAddress(ssh), hostKeys: await hostKeys() })
    await home.announce({
      ...facts,
      ...datastores,
      publicUrl: config.publicUrl ?? formatUrl(localAddress(portal)),
    })
    if (json) print(`${JSON.stringify({ event: 'ready', ...facts, home: home.paths.home })}\n`)
    else print(await makePage(home, product, demo, { portal, admin, publicUrl: config.publicUrl }))
    return app
  })
}

/** Whoever tries it out here must not shut themselves out. */
function exemptThisMachine(config: Config): Config {
  const { limits } = config
  const exempt = limits.penalties.exempt ?? ['127.0.0.0/8', '::1']
  return { ...config, limits: { ...limits, penalties: { ...limits.penalties, exempt } } }
}

async function claim(path: string): Promise<Home> {
  const what = 'vaultterm up'
  try {
    return await claimHome(path, { what })
  } catch (err) {
    if (!(err instanceof HomeInUse) || (await readRun(homePaths(path).run)) !== undefined) throw err
    return claimHome(path, { what, waitMs: claimMs })
  }
}

async function makePage(
  home: Home,
  { auth, adminAuth }: Product,
  demo: Demo | undefined,
  pages: {
    readonly portal: Listen
    readonly admin: Listen
    readonly publicUrl: string | undefined
  },
): Promise<string> {
  const portal = pages.publicUrl ?? formatUrl(localAddress(pages.portal))
  const admin = formatUrl(localAddress(pages.admin))
  const link = (base: string, token: string) => `${base}/login?token=${token}`
  const actor = { kind: 'system', id: 'up', name: 'vaultterm up' } as const
  const users = demo === undefined ? [] : await auth.listUsers(demo.tenant)
  const isThere = users.some(({ name }) => name === demo?.user)
  return formatPage({
    home: home.paths.home,
    admin: link(admin, (await adminAuth.createLoginLink('admin')).token),
    demo: demo && {
      sshConfig: demo.sshConfig,
      tenant: demo.slug,
      target: demo.target,
      user: demo.user,
      portal: isThere
        ? link(portal, (await auth.createLoginLink(demo.tenant, demo.user, actor)).token)
        : portal,
    },
    portal,
  })
}
