import { openProduct, recordingsDirectory, startApp } from '../app.ts'
import { type Config, requireDatastores } from '../config.ts'
import { claimHome, keepHostKeys, keepNodeName } from '../local/index.ts'
import type { Log } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { formatAddress, formatUrl } from './address.ts'
import { workersOf } from './fork.ts'
import { runUntilStopped } from './run.ts'

/**
 * Serves in production, on the datastores that the settings name and on no others. In its home lie
 * the host keys, which nodes behind one address share, and the node's name, which they do not.
 */
export async function serve(options: {
  readonly config: Config
  readonly log: Log
  readonly json: boolean
  readonly print: (text: string) => void
}): Promise<number> {
  const { config, log, json, print } = options
  const datastores = requireDatastores(config)
  return runUntilStopped(config, log, async ({ closing, throwIfStopped }) => {
    const home = await claimHome(config.home, { what: 'vaultterm serve' })
    closing.defer(() => home.release())
    const product = await openProduct(datastores, {
      log,
      metrics: createMetrics(),
      egress: config.egress,
      serve: { node: await keepNodeName(home.paths.node), leaseMs: config.nodeLeaseMs },
    })
    closing.defer(() => product.close())
    throwIfStopped()
    const hostKeys = () => keepHostKeys(home.paths.hostKeys)
    // Made before workers read them, each for itself.
    await hostKeys()
    const fork = workersOf(recordingsDirectory(datastores))
    const app = await startApp({ config, datastores, product, hostKeys, fork })
    closing.defer(() => app.close())
    const ready = {
      ssh: formatAddress(app.ready.ssh),
      portal: formatUrl(app.ready.portal),
      admin: formatUrl(app.ready.admin),
    }
    if (json) print(`${JSON.stringify({ event: 'ready', ...ready, home: home.paths.home })}\n`)
    return app
  })
}
