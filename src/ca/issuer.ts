import { raised, type TenantId, violation, type WriteTx } from '../postgres/index.ts'
import { type CertificateKind, fingerprint, Reader } from '../ssh/index.ts'
import type { CertificateContents, CertificateOrder, Vault } from '../vault/index.ts'
import type { Authorities } from './authority.ts'
import { CertificateRefused, SerialsUsedUp } from './errors.ts'
import type { AuthorityState, Serial } from './generation.ts'
import type { CaMetrics } from './metrics.ts'
import { authorityTurned, insertUserCertificate, requireAuthority } from './queries.ts'
import type { Serials } from './serials.ts'

export interface IssuedCertificate {
  /** As on the wire. */
  readonly blob: Buffer
  /** `ssh-ed25519-cert-v01@openssh.com` */
  readonly type: string
  readonly kind: CertificateKind
  readonly generation: number
  readonly serial: bigint
  readonly keyId: string
  readonly principals: readonly string[]
  /** RFC 3339, UTC. */
  readonly validAfter: string
  readonly validBefore: string
  /** Of the certified key. */
  readonly fingerprint: string
}

/** A certificate without its serial, and its event for the log. */
interface CertificateDraft {
  readonly certificate: Omit<CertificateContents, 'serial'>
  readonly event: CertificateOrder['event']
  /** The user whose own key it is for: it is listed as theirs. */
  readonly holder?: string
}

/** Has certificates signed, each with a serial of its own. */
export class Issuer {
  readonly #vault: Pick<Vault, 'signCertificate'>
  readonly #authorities: Authorities
  readonly #serials: Serials
  readonly #metrics: CaMetrics

  constructor(
    vault: Pick<Vault, 'signCertificate'>,
    authorities: Authorities,
    serials: Serials,
    metrics: CaMetrics,
  ) {
    this.#vault = vault
    this.#authorities = authorities
    this.#serials = serials
    this.#metrics = metrics
  }

  async issue(
    tenant: TenantId,
    kind: CertificateKind,
    state: AuthorityState,
    draft: CertificateDraft,
  ): Promise<IssuedCertificate> {
    const stopTimer = this.#metrics.issueSeconds.startTimer()
    // A third attempt would mean two rotations within one login.
    for (let attempt = 1; attempt <= 2; attempt++) {
      const taken = await this.#takeSerial(tenant, kind, state)
      const issued = await this.#sign(tenant, kind, state, taken, draft)
      if (issued !== undefined) {
        stopTimer()
        this.#metrics.issued.inc({ kind })
        return issued
      }
      this.#serials.forget(tenant, kind, state)
    }
    throw new CertificateRefused(`the ${kind} authority is being rotated: try again`)
  }

  /** On first use there is no authority yet. */
  async #takeSerial(
    tenant: TenantId,
    kind: CertificateKind,
    state: AuthorityState,
  ): Promise<Serial> {
    const taken = await this.#serials.take(tenant, kind, state)
    if (taken !== undefined) return taken
    const listed = await this.#authorities.list(tenant, kind)
    const second = await this.#serials.take(tenant, kind, state)
    if (second !== undefined) return second
    const of = listed.find((one) => one.state === state)
    if (of === undefined) throw new CertificateRefused(`there is no ${state} ${kind} authority`)
    const host = kind === 'host' ? ' --host' : ''
    throw new SerialsUsedUp(
      `${kind} authority of generation ${of.generation}`,
      `run \`vaultterm ca rotate TENANT${host} --force\`, and onboard its targets again`,
    )
  }

  /** Undefined when the authority of the serial has left that state. */
  async #sign(
    tenant: TenantId,
    kind: CertificateKind,
    state: AuthorityState,
    { generation, serial }: Serial,
    { certificate, event, holder }: CertificateDraft,
  ): Promise<IssuedCertificate | undefined> {
    const { validAfter, validBefore, publicKey, keyId, principals } = certificate
    const order: CertificateOrder = {
      authority: { kind, generation },
      certificate: { ...certificate, serial },
      event: {
        public: {
          certKind: kind,
          generation: String(generation),
          serial: String(serial),
          fingerprint: fingerprint(publicKey),
          validAfter: moment(validAfter),
          validBefore: moment(validBefore),
          ...event.public,
        },
        private: { keyId, principals, ...event.private },
      },
    }
    let blob: Buffer
    try {
      blob = await this.#vault.signCertificate(tenant, order, async (tx) => {
        // At once: the statements of this transaction are sent together.
        const kept = holder === undefined ? undefined : keepFor(tx, holder, order)
        await Promise.all([requireAuthority(tx, kind, state, { generation, serial }), kept])
      })
    } catch (err) {
      if (raised(err) === authorityTurned) return undefined
      if (violation(err)?.kind === 'foreign-key')
        throw new CertificateRefused('the user was removed')
      throw err
    }
    return {
      blob,
      type: certificateType(blob),
      kind,
      generation,
      serial,
      keyId,
      principals,
      validAfter: moment(validAfter),
      validBefore: moment(validBefore),
      fingerprint: fingerprint(publicKey),
    }
  }
}

function keepFor(
  tx: WriteTx,
  user: string,
  { authority: { generation }, certificate }: CertificateOrder,
): Promise<void> {
  const { publicKey, serial, validBefore } = certificate
  return insertUserCertificate(tx, user, {
    ...{ generation, serial: `${serial}`, fingerprint: fingerprint(publicKey) },
    expiresAt: new Date(Number(validBefore) * 1000),
  })
}

/** The vault has read the rest of it already. */
function certificateType(blob: Buffer): string {
  return new Reader(blob).text()
}

function moment(seconds: bigint): string {
  return new Date(Number(seconds) * 1000).toISOString()
}
