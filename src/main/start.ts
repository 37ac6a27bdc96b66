import { formatAddress } from '../address.ts'
import { type App, startApp } from '../app.ts'
import type { Config, Datastores } from '../config.ts'
import { type Home, keepHostKeys, keepNodeName } from '../local/index.ts'
import type { Log } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { openProduct, type Product, recordingsDirectory } from '../product.ts'
import type { ServerHostKey } from '../ssh/index.ts'
import { formatUrl } from './address.ts'
import { assertFilesTrusted } from './datastores.ts'
import { workersOf } from './fork.ts'

/** A product that accepts connections. */
export interface Serving {
  readonly app: App
  readonly product: Product
  readonly hostKeys: () => Promise<readonly ServerHostKey[]>
  /** The listeners, as the ready line prints them. */
  readonly addresses: { readonly ssh: string; readonly portal: string; readonly admin: string }
}

/**
 * Opens the product and starts to serve. `up` and `serve` differ in their datastores, and in the
 * work that `up` does in `prepare`, before any client can connect. `closing` closes everything that
 * was opened.
 */
export async function startServing(options: {
  readonly config: Config
  readonly log: Log
  readonly home: Home
  readonly datastores: Datastores
  readonly closing: AsyncDisposableStack
  readonly throwIfStopped: () => void
  readonly prepare?: (product: Product) => Promise<void>
}): Promise<Serving> {
  const { config, log, home, datastores, closing, throwIfStopped, prepare } = options
  throwIfStopped()
  await assertFilesTrusted(datastores)
  const product = await openProduct(datastores, {
    log,
    metrics: createMetrics(),
    egress: config.egress,
    signedHeads: home.paths.signedHeads,
    serve: { node: await keepNodeName(home.paths.node), leaseMs: config.nodeLeaseMs },
  })
  closing.defer(() => product.close())
  throwIfStopped()
  await prepare?.(product)
  throwIfStopped()
  const hostKeys = () => keepHostKeys(home.paths.hostKeys)
  // They must exist before the workers ask for them, each for itself.
  await hostKeys()
  const fork = workersOf(recordingsDirectory(datastores))
  const app = await startApp({ config, datastores, product, hostKeys, fork })
  closing.defer(() => app.close())
  const addresses = {
    ssh: formatAddress(app.ready.ssh),
    portal: formatUrl(app.ready.portal),
    admin: formatUrl(app.ready.admin),
  }
  return { app, product, hostKeys, addresses }
}

/** The one line of JSON that `up` and `serve` print when they accept connections. */
export function readyLine({ addresses }: Serving, home: Home): string {
  return `${JSON.stringify({ event: 'ready', ...addresses, home: home.paths.home })}\n`
}
