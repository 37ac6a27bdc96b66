import { type AuditEvent, appendLastEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import type { TenantId } from '../postgres/index.ts'
import { parseCertificate } from '../ssh/index.ts'
import { KeyMissing, SecretDamaged, VaultRefused } from './errors.ts'
import { generateEphemeralKeyPair, rsaAlgorithms, signEphemeral, signRsa } from './key-pair.ts'
import { type EphemeralKey, type Lease, Leases } from './lease.ts'
import type { VaultMetrics } from './metrics.ts'
import { findSecret } from './queries.ts'
import { envelopeId, type SecretStore } from './secrets.ts'
import { type Refusal, refuseRequest } from './signature-request.ts'
import { readPublicKey, sshKeyPath } from './ssh-key.ts'

/** The public half of a key that signs one login, as the holder of the lease sees it. */
export interface KeyLease {
  readonly id: string
  /** RFC 4253 blob. */
  readonly publicKey: Buffer
  /** The login request shows this certificate in place of the key, where there is one. */
  readonly certificate?: Buffer
  /** Signature algorithms, best first. */
  readonly algorithms: readonly string[]
}

/** A login that is to be signed. The access module has decided before that it is allowed. */
export interface LeaseTerms {
  readonly name: 'admin_ssh'
  readonly login: string
  readonly session: string
  readonly purpose: 'upstream'
  /** Milliseconds; at most leaseMsMax. */
  readonly expiresInMs: number
  /** The target's host key blob: a host-bound login request must name this one. */
  readonly hostKey?: Buffer
}

/** The same for a key that is made for this one login. */
export type EphemeralTerms = Omit<LeaseTerms, 'name'>

const leaseMsMax = 60_000

/** Signs logins to targets. Each signature needs a lease, and a lease gives one signature. */
export class LoginSigner {
  readonly #secrets: SecretStore
  readonly #metrics: VaultMetrics
  readonly #log: Log
  readonly #leases = new Leases()

  constructor(secrets: SecretStore, metrics: VaultMetrics, log: Log) {
    this.#secrets = secrets
    this.#metrics = metrics
    this.#log = log
  }

  /** Promises one signature with a stored key. */
  async lease(tenant: TenantId, terms: LeaseTerms): Promise<KeyLease> {
    const path = sshKeyPath(tenant, terms.name)
    const row = await this.#secrets.find(tenant, path)
    if (row === undefined) throw new KeyMissing(terms.name)
    const now = Date.now()
    const { id, shown, algorithms } = this.#leases.add(
      {
        tenant,
        name: terms.name,
        path,
        version: row.version,
        envelope: envelopeId(row),
        login: terms.login,
        session: terms.session,
        shown: readPublicKey(row.publicKey, terms.name).blob,
        algorithms: rsaAlgorithms,
        hostKey: terms.hostKey,
        expiresAtMs: now + Math.min(terms.expiresInMs, leaseMsMax),
      },
      now,
    )
    return { id, publicKey: shown, algorithms }
  }

  /** Promises one signature with a new key, which is shown in the certificate that certify gives. */
  async leaseEphemeral(
    tenant: TenantId,
    terms: EphemeralTerms,
    certify: (publicKey: Buffer) => Promise<Buffer>,
  ): Promise<KeyLease> {
    const { publicBlob: publicKey, privateKey } = generateEphemeralKeyPair()
    try {
      const certificate = await certify(publicKey)
      const parsed = parseCertificate(certificate)
      if ('problem' in parsed || !parsed.certificate.publicKey.equals(publicKey)) {
        throw this.#refused('certificate')
      }
      const { type } = parsed.certificate
      const ephemeral = { privateKey, publicKey, certificateAlgorithm: type }
      const { id, algorithms } = this.#addEphemeral(tenant, terms, certificate, ephemeral)
      return { id, publicKey, certificate, algorithms }
    } catch (err) {
      privateKey.fill(0)
      throw err
    }
  }

  #addEphemeral(
    tenant: TenantId,
    terms: EphemeralTerms,
    certificate: Buffer,
    ephemeral: EphemeralKey,
  ): Lease {
    const now = Date.now()
    return this.#leases.add(
      {
        tenant,
        name: 'ephemeral',
        path: 'ephemeral',
        version: 0,
        login: terms.login,
        session: terms.session,
        shown: certificate,
        algorithms: ['ssh-ed25519'],
        ephemeral,
        hostKey: terms.hostKey,
        expiresAtMs: now + Math.min(terms.expiresInMs, leaseMsMax),
      },
      now,
    )
  }

  /** Signs the login that was leased. The lease is spent, whether or not it signs. */
  async sign(leaseId: string, data: Buffer, algorithm: string): Promise<Buffer> {
    const held = this.#leases.take(leaseId, Date.now())
    if (held === undefined) throw this.#refused('lease')
    try {
      return await this.#signHeld(held, data, algorithm)
    } finally {
      held.ephemeral?.privateKey.fill(0)
    }
  }

  async #signHeld(held: Lease, data: Buffer, algorithm: string): Promise<Buffer> {
    const refusal = refuseRequest(held, data, algorithm)
    if (refusal !== undefined) throw this.#refused(refusal, held)
    if (held.ephemeral !== undefined) {
      // Its certificate is on the log. This asks whether the vault was sealed since.
      await this.#secrets.require(held.tenant)
      const { privateKey, publicKey } = held.ephemeral
      const signature = signEphemeral(privateKey, publicKey, data)
      if (signature === undefined) throw new Error('a signature did not verify and was withheld')
      this.#metrics.signatures.inc({ purpose: 'upstream' })
      return signature
    }
    // Intent first: once this has committed, the key is opened and the signature made.
    const [row] = await this.#secrets.write(held.tenant, (tx) =>
      Promise.all([
        findSecret(tx, held.path, held.version),
        appendLastEvent(tx, keyUsed(held, algorithm)),
      ]),
    )
    if (row === undefined) throw new KeyMissing(held.name)
    if (envelopeId(row) !== held.envelope) throw new SecretDamaged(held.path)
    const signature = await this.#secrets.use(held, row, (privateKey) =>
      signRsa(privateKey, held.shown, data, algorithm),
    )
    if (signature === undefined) throw new SecretDamaged(held.path)
    this.#metrics.signatures.inc({ purpose: 'upstream' })
    return signature
  }

  /** Takes every lease back. */
  clear(): void {
    this.#leases.clear()
  }

  #refused(reason: Refusal, held?: Lease): VaultRefused {
    this.#metrics.refusals.inc({ reason })
    this.#log.warn({ reason, tenant: held?.tenant, session: held?.session }, 'signature refused')
    return new VaultRefused(reason)
  }
}

function keyUsed(lease: Lease, algorithm: string): AuditEvent {
  return {
    type: 'key.use',
    public: {
      secret: lease.envelope,
      secretName: lease.name,
      version: String(lease.version),
      lease: lease.id,
      session: lease.session,
      algorithm,
      purpose: 'upstream',
    },
    private: { path: lease.path, login: lease.login },
  }
}
