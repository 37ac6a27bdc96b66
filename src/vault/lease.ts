import { randomUUID } from 'node:crypto'
import { keep } from '../bytes.ts'
import type { TenantId } from '../postgres/index.ts'
import { Shares } from '../shares.ts'
import { LeasesExhausted } from './errors.ts'

/** The right to one signature, for one login. The vault keeps it and gives out its id. */
export interface Lease {
  readonly id: string
  readonly tenant: TenantId
  readonly name: string
  readonly path: string
  readonly version: number
  /** For a stored key: the digest of its envelope, which names it in the log. */
  readonly envelope?: string
  readonly login: string
  readonly session: string
  /** The login request must show these bytes: the key, or a certificate for it. */
  readonly shown: Buffer
  readonly algorithms: readonly string[]
  /**
   * A key that was made for this one signature and exists only here. Without it, a stored key
   * signs.
   */
  readonly ephemeral?: EphemeralKey
  /** The target's host key, when the caller knows it: a host-bound login must then name it. */
  readonly hostKey: Buffer | undefined
  readonly expiresAtMs: number
}

/** A key for one signature. It is wiped when its lease ends, in whatever way. */
export interface EphemeralKey {
  /** PKCS#8 PEM. */
  readonly privateKey: Buffer
  readonly publicKey: Buffer
  /** The name of the algorithm in the login request, which shows the certificate. */
  readonly certificateAlgorithm: string
}

const leasesMax = 10_000

/**
 * Leases that wait for their one signature. They are this process's own and end with it. When there are too
 * many, the tenant with the most loses its oldest one: none can use them up for another.
 */
export class Leases {
  readonly #waiting = new Map<string, Lease>()
  readonly #shares = new Shares<string>()
  readonly #max: number

  constructor(max = leasesMax) {
    this.#max = max
  }

  add(lease: Omit<Lease, 'id'>, nowMs: number): Lease {
    for (const [id, { expiresAtMs }] of this.#waiting) {
      // Oldest first, and no lease lives much longer than another: the first live one ends it.
      if (expiresAtMs > nowMs) break
      this.#drop(id)
    }
    if (this.#waiting.size >= this.#max) {
      const oldest = this.#shares.toMakeRoomFor(lease.tenant)
      if (oldest === undefined) throw new LeasesExhausted()
      this.#drop(oldest.key)
    }
    const added = {
      ...lease,
      id: randomUUID(),
      shown: keep(lease.shown),
      hostKey: lease.hostKey && keep(lease.hostKey),
    }
    this.#waiting.set(added.id, added)
    this.#shares.add(added.tenant, added.id)
    return added
  }

  /**
   * Gives a lease out for good, before anything is checked: whatever comes of it, it is spent. The
   * taker wipes its key.
   */
  take(id: string, nowMs: number): Lease | undefined {
    const lease = this.#waiting.get(id)
    if (lease === undefined) return undefined
    if (lease.expiresAtMs <= nowMs) {
      this.#drop(id)
      return undefined
    }
    this.#forget(lease)
    return lease
  }

  clear(): void {
    for (const id of this.#waiting.keys()) this.#drop(id)
  }

  #drop(id: string): void {
    const lease = this.#waiting.get(id)
    if (lease === undefined) return
    lease.ephemeral?.privateKey.fill(0)
    this.#forget(lease)
  }

  #forget({ id, tenant }: Lease): void {
    this.#waiting.delete(id)
    this.#shares.delete(tenant, id)
  }
}
