import { hostNames, type Target } from '../../access/index.ts'
import { bootClockMs } from '../../boot-clock.ts'
import type { Ca } from '../../ca/index.ts'
import type { Log } from '../../log.ts'
import type { TenantId } from '../../postgres/index.ts'
import type { ServerHostKey } from '../../ssh/index.ts'

interface Issued {
  readonly blob: Buffer
  /** By bootClockMs(): where somebody sets the clock, a certificate that is not valid must not stay. */
  readonly renewAtMs: number
}

const ttlSeconds = 24 * 3600
const issuedMax = 10_000
const by = { actor: 'bastion', actorKind: 'system' }

/**
 * The certificates for our own host key, for clients that dial a target by name and reach the
 * bastion instead.
 */
export class JumpCertificates {
  readonly #ca: Pick<Ca, 'issueHost'>
  readonly #log: Log
  readonly #issued = new Map<string, Promise<Issued | undefined>>()

  constructor(ca: Pick<Ca, 'issueHost'>, log: Log) {
    this.#ca = ca
    this.#log = log
  }

  /**
   * Made by the tenant's host authority, for the names of one target: valid for a day, and used for
   * half of it. If none can be issued, clients see the key alone.
   */
  async certificateFor(
    tenant: { readonly id: TenantId; readonly slug: string },
    target: Target,
    { publicKey }: ServerHostKey,
  ): Promise<Buffer | undefined> {
    const names = hostNames(tenant.slug, target)
    const key = JSON.stringify([tenant.id, target.id, names, publicKey.blob.toString('base64')])
    const known = await this.#issued.get(key)
    if (known !== undefined && known.renewAtMs > bootClockMs()) return known.blob
    const issued = this.#issue(tenant.id, target, publicKey.blob, names)
    this.#issued.delete(key)
    this.#issued.set(key, issued)
    const [oldest] = this.#issued.keys()
    if (this.#issued.size > issuedMax && oldest !== undefined) this.#issued.delete(oldest)
    return (await issued)?.blob
  }

  async #issue(tenant: TenantId, target: Target, publicKey: Buffer, names: readonly string[]) {
    try {
      const order = { target, publicKey, names, ttlSeconds, standsIn: true }
      const { blob } = await this.#ca.issueHost(tenant, order, by)
      return { blob, renewAtMs: bootClockMs() + (ttlSeconds * 1000) / 2 }
    } catch (err) {
      this.#log.warn({ err, tenant, target: target.id }, 'no host certificate for a jump')
      return undefined
    }
  }
}
