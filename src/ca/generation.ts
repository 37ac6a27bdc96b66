import type { CertificateKind } from '../ssh/index.ts'

/** next is trusted and does not sign yet; active signs; retired no longer signs. */
export type AuthorityState = 'next' | 'active' | 'retired'

/** One generation of a tenant's authority. */
export interface Authority {
  readonly kind: CertificateKind
  readonly generation: number
  readonly state: AuthorityState
  /** As on the wire. */
  readonly publicKey: Buffer
  readonly fingerprint: string
  /** RFC 3339, UTC. */
  readonly createdAt: string
}

/** A serial number of one generation. It is given once. */
export interface Serial {
  readonly generation: number
  readonly serial: bigint
}
