import type { Config, Listen } from '../config.ts'
import { assertListenersFree } from '../listener.ts'
import {
  claimHome,
  type Demo,
  type Home,
  HomeInUse,
  homePaths,
  readRun,
  startDemo,
} from '../local/index.ts'
import type { Log } from '../log.ts'
import type { Product } from '../product.ts'
import { formatUrl, isLoopback, localAddress } from './address.ts'
import { startDatastores } from './datastores.ts'
import { formatPage } from './page.ts'
import { runUntilStopped } from './run.ts'
import { readyLine, startServing } from './start.ts'

/** Another command may use the home for a moment; another `up` stays. */
const claimMs = 15_000

/**
 * Runs a whole installation on this machine, with its own datastores unless the settings name some.
 * Prints its addresses once it accepts connections: as one line for programs, or as a page for
 * people.
 */
export function up(options: {
  readonly config: Config
  readonly log: Log
  readonly json: boolean
  readonly print: (text: string) => void
  /** Shows a line to the person at the terminal. */
  readonly tell: (line: string) => void
}): Promise<number> {
  const { log, json, print, tell } = options
  const config = exemptThisMachine(options.config)
  return runUntilStopped({ config, log, tell }, async ({ closing, throwIfStopped }) => {
    const home = await claim(config.home)
    closing.defer(() => home.release())
    await assertListenersFree(config)
    throwIfStopped()
    const datastores = await startDatastores(config, { home, log, closing })
    let demo: Demo | undefined
    const serving = await startServing({
      ...{ config, log, home, datastores, closing, throwIfStopped },
      async prepare(product) {
        demo = await startDemo(home.paths.demo, product)
        if (demo === undefined) return
        closing.defer(demo.close)
        warnOfDemo(demo, config, log)
      },
    })
    const { app, product, hostKeys, addresses } = serving
    const { ssh, portal, admin } = app.ready
    await demo?.pointTo({ ...localAddress(ssh), hostKeys: await hostKeys() })
    await home.announce({
      ...addresses,
      ...datastores,
      publicUrl: config.publicUrl ?? formatUrl(localAddress(portal)),
    })
    const pages = { ssh, portal, admin, publicUrl: config.publicUrl }
    if (json) print(readyLine(serving, home))
    else print(await makePage(home, product, demo, pages))
    return app
  })
}

/**
 * The demo target is a shell on this machine. The log line is for operators who do not see the
 * page.
 */
function warnOfDemo({ target, slug }: Demo, config: Config, log: Log): void {
  if (target === undefined) return
  const { name, shellUser } = target
  const remedy = `vaultterm target remove ${slug} ${name}`
  const reachable = !isLoopback(config.ssh)
  if (shellUser === undefined) {
    log.warn(
      { remedy, reachable },
      'the shell of the demo target runs as the user of the bastion: it can read the keys of the bastion',
    )
  } else if (reachable) {
    log.warn(
      { remedy, user: shellUser },
      'the SSH listener is open to other machines, and the demo target is a shell on this machine',
    )
  }
}

/** Users who try it on this machine must not lock themselves out. */
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
    readonly ssh: Listen
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
      isReachable: !isLoopback(pages.ssh),
      portal: isThere
        ? link(portal, (await auth.createLoginLink(demo.tenant, demo.user, actor)).token)
        : portal,
    },
    portal,
  })
}
