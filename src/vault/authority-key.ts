import { randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type AuditEvent, appendLastEvent } from '../audit/index.ts'
import { keep } from '../bytes.ts'
import type { ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import {
  type Certificate,
  type CertificateFields,
  type CertificateKind,
  encodeCertificate,
  fingerprint,
  formatPublicKey,
  parseCertificate,
  sealCertificate,
  Writer,
} from '../ssh/index.ts'
import type { ChangeReports } from './change-reports.ts'
import { KeyMissing, RecordChanged, SecretDamaged, VaultRefused, VaultSealed } from './errors.ts'
import { generateEd25519KeyPair, signEd25519 } from './key-pair.ts'
import type { VaultMetrics } from './metrics.ts'
import { listSecrets, requireUnsealed, type SecretRow } from './queries.ts'
import type { SecretSpec, SecretStore } from './secrets.ts'
import { sshBlobIn } from './ssh-key.ts'

/** Names one of a tenant's CA keys. */
export interface AuthorityName {
  readonly kind: CertificateKind
  readonly generation: number
}

/** The fields of a certificate. The vault adds the nonce, the kind and the authority. */
export type CertificateContents = Omit<CertificateFields, 'nonce' | 'kind' | 'signatureKey'>

/** A certificate to be signed, with its event for the log. */
export interface CertificateOrder {
  readonly authority: AuthorityName
  readonly certificate: CertificateContents
  readonly event: Omit<Extract<AuditEvent, { type: 'cert.issue' }>, 'type'>
}

/** The longest life of a certificate, whatever the order says. */
const lifeSecondsMax: Readonly<Record<CertificateKind, bigint>> = {
  user: 24n * 3600n + 600n,
  host: 90n * 24n * 3600n,
}
/** A certificate may have begun this long ago: clocks differ. */
const pastSecondsMax = 300n
const principalsMax = 16
const storedMax = 10_000
const principalPattern = /^[a-z0-9][a-z0-9._@:-]{0,252}$/
const keyIdPattern = /^[\x20-\x7e]{1,200}$/
const criticalOptions: ReadonlySet<string> = new Set(['force-command', 'source-address'])
const extensions: ReadonlySet<string> = new Set([
  'permit-X11-forwarding',
  'permit-agent-forwarding',
  'permit-port-forwarding',
  'permit-pty',
])

/** A key as it is stored, sealed, and its public half as on the wire, which was checked. */
interface StoredKey {
  readonly row: SecretRow
  readonly signatureKey: Buffer
}

/** The keys of certificate authorities: they sign only certificates of their kind. */
export class AuthorityKeys {
  readonly #secrets: SecretStore
  readonly #metrics: VaultMetrics
  readonly #reports: ChangeReports
  /** Keys whose public half was checked, as they were stored then; at most storedMax. */
  readonly #stored = new Map<string, StoredKey>()

  constructor(secrets: SecretStore, metrics: VaultMetrics, reports: ChangeReports) {
    this.#secrets = secrets
    this.#metrics = metrics
    this.#reports = reports
  }

  /** Makes the key when it is missing; audited. Gives its public half as on the wire. */
  async create(tenant: TenantId, authority: AuthorityName): Promise<Buffer> {
    const spec = specOf(tenant, authority)
    this.#stored.delete(nameOf(tenant, spec.path))
    await this.#secrets.create(tenant, [{ ...spec, isNew: true }])
    return (await this.#find(tenant, authority)).signatureKey
  }

  /**
   * Whether a public key, as on the wire, is that of this authority. Another one is reported. Reads
   * through tx, and only once in a process. Throws VaultSealed.
   */
  async isPublicKey(
    tx: ReadTx,
    tenant: TenantId,
    authority: AuthorityName,
    publicKey: Buffer,
  ): Promise<boolean> {
    const own = await this.#publicKey(tx, tenant, authority)
    if (own?.equals(publicKey) === true) return true
    const id = `${authority.kind}/${authority.generation}`
    this.#reports.report(tenant, { kind: 'authority', id, content: fingerprint(publicKey) })
    return false
  }

  /**
   * Signs the ordered certificate, with `cert.issue` on the log. `require` asks the transaction, in its
   * first turn, whether the order still stands, and fails it where it does not.
   *
   * The vault opens the key and signs while the transaction is on its way. The certificate leaves only
   * after the commit. Throws VaultRefused for a certificate that no CA key signs.
   */
  async sign(
    tenant: TenantId,
    { authority, certificate, event }: CertificateOrder,
    require: (tx: WriteTx) => Promise<void>,
  ): Promise<Buffer> {
    const path = pathOf(authority)
    const { row, signatureKey } = await this.#find(tenant, authority)
    const { kind } = authority
    const { toBeSigned } = encodeCertificate({
      ...certificate,
      nonce: randomBytes(32),
      kind,
      signatureKey,
    })
    this.#require(toBeSigned, authority, signatureKey)
    const signBy = async (key: SecretRow) => {
      const place = { tenant, path, version: key.version }
      const signed = await this.#secrets.use(place, key, (opened) =>
        signEd25519(opened, signatureKey, toBeSigned),
      )
      // The halves are a pair: that was checked, or the row would not have opened.
      if (signed === undefined) throw new Error('a signature did not verify and was withheld')
      return signed
    }
    const signEarly = async () => {
      await nextTurn()
      try {
        return await signBy(row)
      } catch (err) {
        // Any other failure, a signature that does not verify for one, is not to be passed over.
        if (err instanceof SecretDamaged || err instanceof VaultSealed) return undefined
        throw err
      }
    }
    const { lapses } = this.#secrets
    const [, rows, , , early] = await this.#secrets.write(tenant, (tx) =>
      Promise.all([
        appendLastEvent(tx, { type: 'cert.issue', ...event }),
        // Behind the lock of the log, which may take a while: a rotation takes the same lock.
        listSecrets(tx, path),
        require(tx),
        requireUnsealed(tx),
        // Once that is sent. A key that no longer opens is opened again, as it is stored.
        signEarly(),
      ]),
    )
    const stored = await this.#secrets.newest(tenant, path, rows)
    const isAsKept = stored !== undefined && isSame(stored, row)
    if (!isAsKept) this.#stored.delete(nameOf(tenant, path))
    if (stored === undefined) throw new KeyMissing(path)
    if (stored.publicKey !== row.publicKey) throw new SecretDamaged(path)
    const isGood = isAsKept && lapses === this.#secrets.lapses
    const signature = (isGood ? early : undefined) ?? (await signBy(stored))
    const blob = sealCertificate(toBeSigned, signature)
    const parsed = parseCertificate(blob)
    // The finished certificate is read once more, as sshd will read it.
    if ('problem' in parsed || !parsed.certificate.signatureKey.equals(signatureKey)) {
      throw new SecretDamaged(path)
    }
    this.#metrics.signatures.inc({ purpose: `certificate-${kind}` })
    return blob
  }

  /** As it is stored, or was when it signed last. */
  async #find(tenant: TenantId, authority: AuthorityName): Promise<StoredKey> {
    const spec = specOf(tenant, authority)
    const stored = this.#stored.get(nameOf(tenant, spec.path))
    if (stored !== undefined) return stored
    const row = await this.#secrets.find(tenant, spec.path)
    if (row === undefined) throw new KeyMissing(spec.path)
    return this.#check(tenant, spec, row)
  }

  /** Undefined when there is no such key, or its row was changed. */
  async #publicKey(
    tx: ReadTx,
    tenant: TenantId,
    authority: AuthorityName,
  ): Promise<Buffer | undefined> {
    const spec = specOf(tenant, authority)
    const stored = this.#stored.get(nameOf(tenant, spec.path))
    if (stored !== undefined) return stored.signatureKey
    const row = await this.#secrets.newest(tenant, spec.path, await listSecrets(tx, spec.path))
    if (row === undefined) return undefined
    try {
      return (await this.#check(tenant, spec, row)).signatureKey
    } catch (err) {
      if (err instanceof RecordChanged) return undefined
      throw err
    }
  }

  async #check(tenant: TenantId, spec: SecretSpec, row: SecretRow): Promise<StoredKey> {
    await this.#secrets.requirePublicKey(tenant, spec, row)
    const { sealed, dek, wrappedKek } = row
    const kept = { sealed: keep(sealed), dek: keep(dek), wrappedKek: keep(wrappedKek) }
    const checked = { row: { ...row, ...kept }, signatureKey: keep(publicKeyOf(row, spec.path)) }
    if (this.#stored.size >= storedMax) this.#stored.clear()
    this.#stored.set(nameOf(tenant, spec.path), checked)
    return checked
  }

  #require(toBeSigned: Buffer, authority: AuthorityName, signatureKey: Buffer): void {
    // The parser of its readers looks at the bytes to be signed. The signature of zeros only fills the form.
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

function specOf(tenant: TenantId, authority: AuthorityName): SecretSpec {
  const { kind } = authority
  return {
    name: `ca-${kind}`,
    algorithm: 'ssh-ed25519',
    path: pathOf(authority),
    rotationPolicy: '365_days',
    generate: generateEd25519KeyPair,
    parse: sshBlobIn,
    describe: (blob) => {
      const comment = `vaultterm-ca-${kind}-${tenant.slice(0, 8)}`
      const line = formatPublicKey({ type: 'ssh-ed25519', blob }, comment)
      return { publicKey: line, fingerprint: fingerprint(blob) }
    },
  }
}

function pathOf({ kind, generation }: AuthorityName): string {
  return `ca/${kind}/${generation}`
}

function isSame(one: SecretRow, other: SecretRow): boolean {
  return (
    one.version === other.version &&
    one.kekVersion === other.kekVersion &&
    one.publicKey === other.publicKey &&
    one.sealed.equals(other.sealed) &&
    one.dek.equals(other.dek) &&
    one.wrappedKek.equals(other.wrappedKek)
  )
}

function nameOf(tenant: TenantId, path: string): string {
  return `${tenant} ${path}`
}

function publicKeyOf({ publicKey }: SecretRow, path: string): Buffer {
  const blob = sshBlobIn(publicKey)
  if (blob === undefined) throw new SecretDamaged(path)
  return blob
}

function signatureBlob(bare: Buffer): Buffer {
  return new Writer().text('ssh-ed25519').string(bare).build()
}
