import { randomBytes } from 'node:crypto'
import { type AuditEvent, appendLastEvent } from '../audit/index.ts'
import type { ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import {
  type Certificate,
  type CertificateFields,
  type CertificateKind,
  encodeCertificate,
  fingerprint,
  formatPublicKey,
  parseCertificate,
  parsePublicKey,
  sealCertificate,
  Writer,
} from '../ssh/index.ts'
import { KeyMissing, SecretDamaged, VaultRefused } from './errors.ts'
import { ed25519Blob, generateEd25519KeyPair, signEd25519 } from './key-pair.ts'
import type { VaultMetrics } from './metrics.ts'
import { findNewestSecret, type SecretRow } from './queries.ts'
import type { SecretStore } from './secrets.ts'

/** Which of a tenant's CA keys. */
export interface AuthorityName {
  readonly kind: CertificateKind
  readonly generation: number
}

/** What a certificate is to say; the nonce, the kind and the authority are the vault's to add. */
export type CertificateWish = Omit<CertificateFields, 'nonce' | 'kind' | 'signatureKey'>

/** A certificate that is about to be signed, and what it is signed for, for the log. */
export interface CertificateOrder {
  readonly authority: AuthorityName
  readonly certificate: CertificateWish
  readonly event: Omit<Extract<AuditEvent, { type: 'cert.issue' }>, 'type'>
}

/** However it is asked for, nothing that is signed lives longer. */
const lifeSecondsMax: Readonly<Record<CertificateKind, bigint>> = {
  user: 24n * 3600n + 600n,
  host: 90n * 24n * 3600n,
}
/** A certificate may have begun this long ago: clocks differ. */
const pastSecondsMax = 300n
const principalsMax = 16
const usedMax = 10_000
const principalPattern = /^[a-z0-9][a-z0-9._@:-]{0,252}$/
const keyIdPattern = /^[\x20-\x7e]{1,200}$/
const criticalOptions: ReadonlySet<string> = new Set(['force-command', 'source-address'])
const extensions: ReadonlySet<string> = new Set([
  'permit-X11-forwarding',
  'permit-agent-forwarding',
  'permit-port-forwarding',
  'permit-pty',
])

/** The keys of certificate authorities: they sign certificates of their kind, and nothing else. */
export class AuthorityKeys {
  readonly #secrets: SecretStore
  readonly #metrics: VaultMetrics
  /** Which key of a tenant's signed last: the next order is likely for it, and it is asked for along. */
  readonly #used = new Map<TenantId, AuthorityName>()

  constructor(secrets: SecretStore, metrics: VaultMetrics) {
    this.#secrets = secrets
    this.#metrics = metrics
  }

  /** Makes the key when it is missing; audited. Gives its public half as on the wire. */
  async create(tenant: TenantId, authority: AuthorityName): Promise<Buffer> {
    const path = pathOf(authority)
    await this.#secrets.create(tenant, [
      {
        name: `ca-${authority.kind}`,
        algorithm: 'ssh-ed25519',
        path,
        rotationPolicy: '365_days',
        generate: async () => {
          const pair = await generateEd25519KeyPair()
          const blob = ed25519Blob(pair.publicKey)
          const comment = `vaultterm-ca-${authority.kind}-${tenant.slice(0, 8)}`
          const publicKey = formatPublicKey({ type: 'ssh-ed25519', blob }, comment)
          return { privateKey: pair.privateKey, publicKey, fingerprint: fingerprint(blob) }
        },
      },
    ])
    return publicKeyOf(await this.#secrets.read(tenant, (tx) => find(tx, authority)), path)
  }

  /**
   * Signs what the order says. The order is made, and `cert.issue` appended, in one transaction;
   * only when that has committed is the key opened. Gives undefined where there was no order; throws
   * VaultRefused for what no CA key signs.
   */
  async sign(
    tenant: TenantId,
    order: (tx: WriteTx) => Promise<CertificateOrder | undefined>,
  ): Promise<Buffer | undefined> {
    const likely = this.#used.get(tenant)
    const ordered = await this.#secrets.write(tenant, async (tx) => {
      const [made, found] = await Promise.all([
        order(tx),
        likely === undefined ? undefined : findNewestSecret(tx, pathOf(likely)),
      ])
      if (made === undefined) return undefined
      const { authority, certificate, event } = made
      const isIt = likely !== undefined && pathOf(likely) === pathOf(authority)
      const row = isIt && found !== undefined ? found : await find(tx, authority)
      const signatureKey = publicKeyOf(row, pathOf(authority))
      const { kind } = authority
      const fields = { ...certificate, nonce: randomBytes(32), kind, signatureKey }
      const { toBeSigned } = encodeCertificate(fields)
      this.#require(toBeSigned, authority, signatureKey)
      await appendLastEvent(tx, { type: 'cert.issue', ...event })
      return { authority, row, toBeSigned, signatureKey }
    })
    if (ordered === undefined) return undefined
    const { authority, row, toBeSigned, signatureKey } = ordered
    this.#remember(tenant, authority)
    const place = { tenant, path: pathOf(authority), version: row.version }
    const bare = await this.#secrets.use(place, row, (key) => signEd25519(key, toBeSigned))
    const blob = sealCertificate(toBeSigned, signatureBlob(bare))
    const parsed = parseCertificate(blob)
    // What left the vault is read once more, as its readers will.
    if ('problem' in parsed || !parsed.certificate.signatureKey.equals(signatureKey)) {
      throw new SecretDamaged(place.path)
    }
    this.#metrics.signatures.inc({ purpose: `certificate-${authority.kind}` })
    return blob
  }

  #remember(tenant: TenantId, authority: AuthorityName): void {
    if (this.#used.size >= usedMax) this.#used.clear()
    this.#used.set(tenant, authority)
  }

  #require(toBeSigned: Buffer, authority: AuthorityName, signatureKey: Buffer): void {
    // Its readers' own parser says what is about to be signed: the signature is only for the form.
    const parsed = parseCertificate(sealCertificate(toBeSigned, signatureBlob(Buffer.alloc(64))))
    const reason =
      'problem' in parsed ? 'certificate' : refuse(parsed.certificate, authority, signatureKey)
    if (reason === undefined) return
    this.#metrics.refusals.inc({ reason })
    throw new VaultRefused(reason)
  }
}

function refuse(
  certificate: Certificate,
  { kind }: AuthorityName,
  signatureKey: Buffer,
): string | undefined {
  const { validAfter, validBefore, principals, serial, keyId } = certificate
  const now = BigInt(Math.floor(Date.now() / 1000))
  if (certificate.kind !== kind || !certificate.signatureKey.equals(signatureKey)) {
    return 'certificate-kind'
  }
  if (validAfter < now - pastSecondsMax || validBefore > now + lifeSecondsMax[kind]) {
    return 'certificate-life'
  }
  if (principals.length === 0 || principals.length > principalsMax) return 'certificate-principals'
  if (!principals.every((name) => principalPattern.test(name))) return 'certificate-principals'
  if (serial === 0n || !keyIdPattern.test(keyId)) return 'certificate-name'
  const options = [...certificate.criticalOptions.keys()]
  if (!options.every((name) => kind === 'user' && criticalOptions.has(name))) {
    return 'certificate-options'
  }
  const permits = [...certificate.extensions.keys()]
  if (!permits.every((name) => kind === 'user' && extensions.has(name))) {
    return 'certificate-options'
  }
  return undefined
}

function pathOf({ kind, generation }: AuthorityName): string {
  return `ca/${kind}/${generation}`
}

async function find(tx: ReadTx, authority: AuthorityName): Promise<SecretRow> {
  const row = await findNewestSecret(tx, pathOf(authority))
  if (row === undefined) throw new KeyMissing(pathOf(authority))
  return row
}

function publicKeyOf({ publicKey }: SecretRow, path: string): Buffer {
  const parsed = parsePublicKey(publicKey)
  if ('problem' in parsed) throw new SecretDamaged(path, new Error(parsed.problem))
  return parsed.key.blob
}

function signatureBlob(bare: Buffer): Buffer {
  return new Writer().text('ssh-ed25519').string(bare).build()
}
