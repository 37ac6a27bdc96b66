import type { Access } from '../access/index.ts'
import type { Auth } from '../auth/index.ts'
import type { BastionLimits } from '../config.ts'
import type { Log } from '../log.ts'
import type { Recorder } from '../recorder/index.ts'
import type { ServerHostKey } from '../ssh/index.ts'
import type { Tenants } from '../tenant/index.ts'
import type { Vault } from '../vault/index.ts'
import type { BastionMetrics } from './metrics.ts'

/**
 * What the bastion asks of the side that holds the secrets. Every call is asynchronous with plain
 * data in and out, so that each of them can cross a process boundary.
 */
export interface BastionDeps {
  readonly tenants: Pick<Tenants, 'resolve'>
  readonly auth: Pick<Auth, 'authenticateSsh'>
  readonly access: Pick<
    Access,
    | 'authorize'
    | 'startSession'
    | 'leaseKey'
    | 'checkHostKey'
    | 'upstreamOpened'
    | 'endSession'
    | 'onKill'
  >
  readonly vault: Pick<Vault, 'sign'>
  readonly recorder: Pick<Recorder, 'start'>
  readonly metrics: BastionMetrics
  readonly limits: BastionLimits
  readonly hostKeys: readonly ServerHostKey[]
  /** The name of this process among those of the deployment. */
  readonly node: string
  readonly log: Log
}
