import { generateKeyPairSync } from 'node:crypto'
import {
  type AuditEvent,
  appendEvent,
  appendLastEvent,
  type CheckpointSigner,
} from '../audit/index.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { type Database, systemTenant, type TenantId, type WriteTx } from '../postgres/index.ts'
import { formatPublicKey, type PublicKey, parseCertificate, parsePublicKey } from '../ssh/index.ts'
import { AuthorityKeys, type AuthorityName, type CertificateOrder } from './authority-key.ts'
import { openCheckpointSigner } from './checkpoint-key.ts'
import { KeyMissing, SecretDamaged, VaultRefused } from './errors.ts'
import type { Kek } from './kek.ts'
import {
  ed25519Blob,
  generateRsaKeyPair,
  rsaAlgorithms,
  rsaBlob,
  signEd25519With,
  signRsa,
} from './key-pair.ts'
import { type Lease, Leases } from './lease.ts'
import { vaultMetrics } from './metrics.ts'
import { findNewestSecret, findSecret, notifySealed, setSealed } from './queries.ts'
import { SealState, sealChannel } from './seal-state.ts'
import { envelopeId, SecretStore } from './secrets.ts'
import { type Refusal, refuseRequest } from './signature-request.ts'
import {
  rotationPolicy,
  type SshKeyDescription,
  type SshKeyName,
  sshKeyComment,
  sshKeyNames,
  sshKeyPath,
} from './ssh-key.ts'

/** What the holder of a lease needs to know of the key that will sign for it. */
export interface KeyLease {
  readonly id: string
  /** RFC 4253 blob. */
  readonly publicKey: Buffer
  /** To be shown in place of the key, where there is one. */
  readonly certificate?: Buffer
  /** Best first. */
  readonly algorithms: readonly string[]
}

/** What a lease is wanted for. Who may have one is decided by access, before. */
export interface LeaseWish {
  readonly name: 'admin_ssh'
  readonly login: string
  readonly session: string
  readonly purpose: 'upstream'
  readonly expiresInMs: number
  /** The target's host key blob: a host-bound login request must then name this one. */
  readonly hostKey?: Buffer
}

/** What a key that lives for one login is wanted for. */
export type EphemeralWish = Omit<LeaseWish, 'name'>

export interface VaultStatus {
  readonly sealed: boolean
  readonly provider: string
  readonly kekId: string
}

export interface Vault {
  /** Makes admin_ssh and tenant_ssh where they are missing; audited. Takes seconds, off the main thread. */
  createSshKeys(tenant: TenantId): Promise<void>
  /** What may be known of a key pair. Needs no key, so it answers while the vault is sealed. */
  describe(tenant: TenantId, name: SshKeyName): Promise<SshKeyDescription>
  /** Promises one signature, for one login of one session, for at most a minute. */
  lease(tenant: TenantId, wish: LeaseWish): Promise<KeyLease>
  /**
   * The same with a key that is made for this one login, and shown with the certificate that certify
   * gives for it; the certificate's issue is what is on the log.
   */
  leaseEphemeral(
    tenant: TenantId,
    wish: EphemeralWish,
    certify: (publicKey: Buffer) => Promise<Buffer>,
  ): Promise<KeyLease>
  /** Makes the key of a certificate authority when it is missing; audited. Gives its public half. */
  createAuthorityKey(tenant: TenantId, authority: AuthorityName): Promise<Buffer>
  /**
   * Signs the certificate that is ordered. Nobody gets it unless it is on the log as `cert.issue`,
   * committed, and `require` did not fail that transaction, which it is asked of with the log's lock
   * held, in one turn. Throws VaultRefused for what no CA key signs.
   */
  signCertificate(
    tenant: TenantId,
    order: CertificateOrder,
    require: (tx: WriteTx) => Promise<void>,
  ): Promise<Buffer>
  /**
   * Signs the login request that was leased: RFC 4252 section 7, or its host-bound form.
   *
   * The use is in the tenant's audit log before the key is opened. The lease is spent whether or
   * not it signs. Gives the whole signature blob of RFC 4253: algorithm, then signature.
   */
  sign(leaseId: string, data: Buffer, algorithm: string): Promise<Buffer>
  /** Signs checkpoints of the audit log with a key of the platform, made on first use. */
  checkpointSigner(): Promise<CheckpointSigner>
  /** Throws KekWrong when the operator's key is not the one this database was sealed with. */
  status(): Promise<VaultStatus>
  /** Takes the keys out of use on every node, and wipes what this process holds. Audited. */
  seal(): Promise<void>
  /** Reads the operator's key again and, when it is the right one, opens the vault on every node. */
  unseal(): Promise<void>
  close(): Promise<void>
}

export interface VaultDeps {
  readonly database: Database
  readonly kek: Kek
  readonly log: Log
  readonly metrics: Metrics
}

export const leaseMsMax = 60_000

export function createVault({ database, kek, log, metrics: registry }: VaultDeps): Vault {
  const scoped = log.child({ module: 'vault' })
  const metrics = vaultMetrics(registry)
  const state = new SealState(database, kek)
  const secrets = new SecretStore(database, kek, state, metrics)
  const leases = new Leases()
  const authorityKeys = new AuthorityKeys(secrets, metrics)

  async function createSshKeys(tenant: TenantId): Promise<void> {
    await secrets.create(
      tenant,
      sshKeyNames.map((name) => ({
        name,
        algorithm: 'ssh-rsa',
        path: sshKeyPath(tenant, name),
        rotationPolicy,
        generate: async () => {
          const pair = await generateRsaKeyPair()
          const key = { type: 'ssh-rsa', blob: rsaBlob(pair.publicKey) }
          const publicKey = formatPublicKey(key, sshKeyComment(tenant, name))
          const { fingerprint } = readPublicKey(publicKey, name)
          return { privateKey: pair.privateKey, publicKey, fingerprint }
        },
      })),
    )
  }

  async function describe(tenant: TenantId, name: SshKeyName): Promise<SshKeyDescription> {
    const row = await database.read(tenant, (tx) => findNewestSecret(tx, sshKeyPath(tenant, name)))
    if (row === undefined) throw new KeyMissing(name)
    return {
      publicKey: row.publicKey,
      fingerprint: readPublicKey(row.publicKey, name).fingerprint,
      createdAt: row.createdAt.toISOString(),
      lastRotated: row.lastRotated.toISOString(),
      rotationPolicy: row.rotationPolicy,
      version: row.version,
    }
  }

  async function lease(tenant: TenantId, wish: LeaseWish): Promise<KeyLease> {
    const path = sshKeyPath(tenant, wish.name)
    const row = await secrets.read(tenant, (tx) => findNewestSecret(tx.last(), path))
    if (row === undefined) throw new KeyMissing(wish.name)
    const now = Date.now()
    const { id, shown, algorithms } = leases.add(
      {
        tenant,
        name: wish.name,
        path,
        version: row.version,
        envelope: envelopeId(row),
        login: wish.login,
        session: wish.session,
        shown: readPublicKey(row.publicKey, wish.name).blob,
        algorithms: rsaAlgorithms,
        hostKey: wish.hostKey,
        expiresAtMs: now + Math.min(wish.expiresInMs, leaseMsMax),
      },
      now,
    )
    return { id, publicKey: shown, algorithms }
  }

  async function leaseEphemeral(
    tenant: TenantId,
    wish: EphemeralWish,
    certify: (publicKey: Buffer) => Promise<Buffer>,
  ): Promise<KeyLease> {
    const { publicKey: half, privateKey: ephemeral } = generateKeyPairSync('ed25519')
    const publicKey = ed25519Blob(half)
    const certificate = await certify(publicKey)
    const parsed = parseCertificate(certificate)
    if ('problem' in parsed || !parsed.certificate.publicKey.equals(publicKey)) {
      throw refused('certificate')
    }
    const now = Date.now()
    const { id, algorithms } = leases.add(
      {
        tenant,
        name: 'ephemeral',
        path: 'ephemeral',
        version: 0,
        login: wish.login,
        session: wish.session,
        shown: certificate,
        algorithms: ['ssh-ed25519'],
        certificateAlgorithm: parsed.certificate.type,
        ephemeral,
        hostKey: wish.hostKey,
        expiresAtMs: now + Math.min(wish.expiresInMs, leaseMsMax),
      },
      now,
    )
    return { id, publicKey, certificate, algorithms }
  }

  async function sign(leaseId: string, data: Buffer, algorithm: string): Promise<Buffer> {
    const held = leases.take(leaseId, Date.now())
    if (held === undefined) throw refused('lease')
    const refusal = refuseRequest(held, data, algorithm)
    if (refusal !== undefined) throw refused(refusal, held)
    if (held.ephemeral !== undefined) {
      // Its certificate is on the log; what is asked here is whether the vault was sealed since.
      await secrets.require(held.tenant)
      metrics.signatures.inc({ purpose: 'upstream' })
      return signEd25519With(held.ephemeral, data)
    }
    // Intent first: once this has committed, the key is opened and the signature made.
    const [row] = await secrets.write(held.tenant, (tx) =>
      Promise.all([
        findSecret(tx, held.path, held.version),
        appendLastEvent(tx, keyUsed(held, algorithm)),
      ]),
    )
    if (row === undefined) throw new KeyMissing(held.name)
    if (envelopeId(row) !== held.envelope) throw new SecretDamaged(held.path)
    const signature = await secrets.use(held, row, (privateKey) =>
      signRsa(privateKey, data, algorithm),
    )
    if (!signature.publicBlob.equals(held.shown)) throw new SecretDamaged(held.path)
    metrics.signatures.inc({ purpose: 'upstream' })
    return signature.blob
  }

  function refused(reason: Refusal, held?: Lease): VaultRefused {
    metrics.refusals.inc({ reason })
    scoped.warn({ reason, tenant: held?.tenant, session: held?.session }, 'signature refused')
    return new VaultRefused(reason)
  }

  let signer: Promise<CheckpointSigner> | undefined
  function checkpointSigner(): Promise<CheckpointSigner> {
    signer ??= openCheckpointSigner(database, secrets, metrics).catch((err: unknown) => {
      signer = undefined
      throw err
    })
    return signer
  }

  async function status(): Promise<VaultStatus> {
    await state.ready()
    const row = await database.read(systemTenant, (tx) => state.find(tx))
    if (!row.sealed) await secrets.require(systemTenant)
    return { sealed: row.sealed, provider: kek.provider, kekId: row.kekId }
  }

  async function seal(): Promise<void> {
    try {
      await state.ready()
      await changeState(true, async (tx) => {
        await notifySealed(tx, sealChannel)
      })
    } finally {
      // Also when the database did not answer: then the row still says what this process may do.
      state.forget()
      leases.clear()
    }
    scoped.warn('vault sealed')
  }

  async function unseal(): Promise<void> {
    await state.ready()
    const row = await database.read(systemTenant, (tx) => state.find(tx))
    // Word of the seal may come late, and wipes what was read: nothing is waited for in between.
    await state.load()
    await state.check(row)
    await changeState(false)
    scoped.warn('vault unsealed')
  }

  async function changeState(sealed: boolean, also?: (tx: WriteTx) => Promise<void>) {
    await database.write(systemTenant, async (tx) => {
      if ((await setSealed(tx, sealed)) === 0) return
      await also?.(tx)
      const type = sealed ? 'vault.seal' : 'vault.unseal'
      await appendEvent(tx, { type, public: { provider: kek.provider, kek: kek.id } })
    })
  }

  return {
    createSshKeys,
    describe,
    lease,
    leaseEphemeral,
    createAuthorityKey: (tenant, authority) => authorityKeys.create(tenant, authority),
    signCertificate: (tenant, order, require) => authorityKeys.sign(tenant, order, require),
    sign,
    checkpointSigner,
    status,
    seal,
    unseal,
    close: async () => {
      leases.clear()
      await state.close()
    },
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

/** The public half is not sealed, so what it says is checked again against what signs. */
function readPublicKey(line: string, name: string): PublicKey {
  const parsed = parsePublicKey(line)
  if ('problem' in parsed) throw new SecretDamaged(name, new Error(parsed.problem))
  return parsed.key
}
