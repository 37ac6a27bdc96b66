import { type Config, requireDatastores } from '../config.ts'
import { assertListenersFree } from '../listener.ts'
import { claimHome } from '../local/index.ts'
import type { Log } from '../log.ts'
import { runUntilStopped } from './run.ts'
import { readyLine, startServing } from './start.ts'

/**
 * Serves in production, only on the datastores in the settings. The home has the host keys, which
 * nodes behind one address share, and the name of the node, which they do not share.
 */
export async function serve(options: {
  readonly config: Config
  readonly log: Log
  readonly json: boolean
  readonly print: (text: string) => void
  /** Shows a line to the person at the terminal. */
  readonly tell: (line: string) => void
}): Promise<number> {
  const { config, log, json, print, tell } = options
  const datastores = requireDatastores(config)
  return runUntilStopped({ config, log, tell }, async ({ closing, throwIfStopped }) => {
    const home = await claimHome(config.home, { what: 'vaultterm serve' })
    closing.defer(() => home.release())
    await assertListenersFree(config)
    const serving = await startServing({ config, log, home, datastores, closing, throwIfStopped })
    if (json) print(readyLine(serving, home))
    return serving.app
  })
}
