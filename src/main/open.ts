import { stat } from 'node:fs/promises'
import { type Config, databaseUrls } from '../config.ts'
import { type HomePaths, homePaths, visitHome } from '../local/index.ts'
import type { Log } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { migrations, openProduct, type Product } from '../product.ts'
import { formatUrl, localAddress } from './address.ts'
import { assertFilesTrusted, datastoresIn } from './datastores.ts'

/** The product for one command, with the addresses of the running one. */
export interface Opened extends Product {
  readonly run: {
    readonly portal: string
    readonly admin: string
    /** The base address of links for people. */
    readonly publicUrl: string
    /** Whether a server runs, which the commands that act on live sessions need. */
    readonly live: boolean
  }
}

/**
 * Opens the installation that the settings name: the one of DATABASE_URL, or that of the home,
 * whether its `up` runs or not. Other processes that find the home in use report `what`.
 */
export async function open(what: string, config: Config, log: Log): Promise<Opened> {
  const paths = homePaths(config.home)
  const { databaseUrl } = config.given
  const portal = formatUrl(localAddress(config.portal))
  const admin = formatUrl(localAddress(config.admin))
  if (databaseUrl !== undefined) {
    const urls = databaseUrls(config.given, databaseUrl)
    const datastores = datastoresIn(config, paths, urls, undefined)
    await assertFilesTrusted(datastores)
    const product = await openProduct(datastores, {
      log,
      metrics: createMetrics(),
      egress: config.egress,
      signedHeads: await signedHeadsIn(paths),
    })
    const publicUrl = config.publicUrl ?? portal
    return { ...product, run: { portal, admin, publicUrl, live: true } }
  }
  const visit = await visitHome({ path: config.home, what, migrations, log })
  try {
    const { run } = visit
    const settled = datastoresIn(config, paths, visit.database, run?.redisUrl)
    const datastores = run === undefined ? settled : { ...settled, ...run }
    await assertFilesTrusted(datastores)
    const product = await openProduct(datastores, {
      log,
      metrics: createMetrics(),
      egress: config.egress,
      signedHeads: paths.signedHeads,
    })
    return {
      ...product,
      run: {
        portal: run?.portal ?? portal,
        admin: run?.admin ?? admin,
        publicUrl: run?.publicUrl ?? config.publicUrl ?? portal,
        live: run !== undefined,
      },
      async close() {
        await product.close()
        await visit.close()
      },
    }
  } catch (err) {
    await visit.close()
    throw err
  }
}

/** A command on a machine other than the servers' has no home, and remembers no heads. */
async function signedHeadsIn({ home, signedHeads }: HomePaths): Promise<string | undefined> {
  try {
    return (await stat(home)).isDirectory() ? signedHeads : undefined
  } catch {
    return undefined
  }
}
