import type { CheckpointSigner } from '../audit/index.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Database, ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import { AuthorityKeys, type AuthorityName, type CertificateOrder } from './authority-key.ts'
import { ChangeReports } from './change-reports.ts'
import { openCheckpointSigner } from './checkpoint-key.ts'
import type { Kek } from './kek.ts'
import { vaultMetrics } from './metrics.ts'
import { RecordTags, type TaggedRow, type TagRecord } from './record-tags.ts'
import { Seal, type VaultStatus } from './seal.ts'
import { SealState } from './seal-state.ts'
import { SecretStore } from './secrets.ts'
import { type EphemeralTerms, type KeyLease, type LeaseTerms, LoginSigner } from './signing.ts'
import { type SshKeyDescription, type SshKeyName, SshKeys } from './ssh-key.ts'

export interface Vault {
  /** Makes admin_ssh and tenant_ssh where they are missing; audited. Takes seconds, off the main thread. */
  createSshKeys(tenant: TenantId): Promise<void>
  /**
   * The public half of a key pair, checked against the vault's private half. Throws RecordChanged,
   * and VaultSealed while it cannot be checked.
   */
  describe(tenant: TenantId, name: SshKeyName): Promise<SshKeyDescription>
  /** Promises one signature, for one login of one session, for at most a minute. */
  lease(tenant: TenantId, terms: LeaseTerms): Promise<KeyLease>
  /**
   * The same with a new key for this one login. certify gives the certificate that the login shows.
   * The log has the certificate's issue, and no other use of the key.
   */
  leaseEphemeral(
    tenant: TenantId,
    terms: EphemeralTerms,
    certify: (publicKey: Buffer) => Promise<Buffer>,
  ): Promise<KeyLease>
  /** Makes the key of a certificate authority when it is missing; audited. Gives its public half. */
  createAuthorityKey(tenant: TenantId, authority: AuthorityName): Promise<Buffer>
  /**
   * Whether a public key, as on the wire, is the one that the vault made for an authority. A
   * different one is reported. Reads through tx, once in a process. Throws VaultSealed.
   */
  isAuthorityKey(
    tx: ReadTx,
    tenant: TenantId,
    authority: AuthorityName,
    publicKey: Buffer,
  ): Promise<boolean>
  /** Runs work with the means to tag public rows of a tenant. Throws VaultSealed. */
  tagging<T>(tenant: TenantId, work: (tag: TagRecord) => Promise<T>): Promise<T>
  /**
   * Whether each row is as VaultTerm wrote it, in their order; a row that is not is reported. Call it
   * outside of transactions. Throws VaultSealed for rows that cannot be checked while it is sealed.
   */
  areIntact(tenant: TenantId, rows: readonly TaggedRow[]): Promise<readonly boolean[]>
  /** At start: has the rows of tenants tagged that are from before tags. `tagRows` answers how many. */
  tagOldTenants(tagRows: (tx: WriteTx, tag: TagRecord) => Promise<number>): Promise<void>
  /**
   * Signs the ordered certificate. It leaves the vault only after the transaction with `cert.issue` has
   * committed. `require` may fail that transaction; it runs with the log's lock held, in one turn.
   * Throws VaultRefused for a certificate that no CA key signs.
   */
  signCertificate(
    tenant: TenantId,
    order: CertificateOrder,
    require: (tx: WriteTx) => Promise<void>,
  ): Promise<Buffer>
  /**
   * Signs the login request that was leased: RFC 4252 section 7, or its host-bound form.
   *
   * The use is in the tenant's audit log before the vault opens the key. The lease is spent, whether or
   * not the vault signs. Gives the whole signature blob of RFC 4253: algorithm, then signature.
   */
  sign(leaseId: string, data: Buffer, algorithm: string): Promise<Buffer>
  /** Signs checkpoints of the audit log with a key of the platform, made on first use. */
  checkpointSigner(): Promise<CheckpointSigner>
  /** Throws KekWrong when the operator's key is not the one this database was sealed with. */
  status(): Promise<VaultStatus>
  /** Takes the keys out of use on every node, and wipes the operator's key from this process. Audited. */
  seal(): Promise<void>
  /** Reads the operator's key again and, when it is the right one, opens the vault on every node. */
  unseal(): Promise<void>
  close(): Promise<void>
}

interface VaultDeps {
  readonly database: Database
  readonly kek: Kek
  readonly log: Log
  readonly metrics: Metrics
}

export function createVault({ database, kek, log, metrics: registry }: VaultDeps): Vault {
  const scoped = log.child({ module: 'vault' })
  const metrics = vaultMetrics(registry)
  const state = new SealState(database, kek, metrics, scoped)
  const reports = new ChangeReports(database, metrics, scoped)
  const secrets = new SecretStore(database, kek, state, metrics, reports)
  const sshKeys = new SshKeys(secrets)
  const authorityKeys = new AuthorityKeys(secrets, metrics, reports)
  const signer = new LoginSigner(secrets, metrics, scoped)
  const tags = new RecordTags(database, kek, secrets, reports, scoped)
  const seal = new Seal(database, kek, state, scoped)

  let checkpoints: Promise<CheckpointSigner> | undefined
  function checkpointSigner(): Promise<CheckpointSigner> {
    checkpoints ??= openCheckpointSigner(secrets, metrics).catch((err: unknown) => {
      checkpoints = undefined
      throw err
    })
    return checkpoints
  }

  return {
    createSshKeys: (tenant) => sshKeys.create(tenant),
    describe: (tenant, name) => sshKeys.describe(tenant, name),
    lease: (tenant, terms) => signer.lease(tenant, terms),
    leaseEphemeral: (tenant, terms, certify) => signer.leaseEphemeral(tenant, terms, certify),
    createAuthorityKey: (tenant, authority) => authorityKeys.create(tenant, authority),
    isAuthorityKey: (tx, tenant, authority, publicKey) =>
      authorityKeys.isPublicKey(tx, tenant, authority, publicKey),
    tagging: (tenant, work) => tags.tagging(tenant, work),
    areIntact: (tenant, rows) => tags.areIntact(tenant, rows),
    tagOldTenants: (tagRows) => tags.tagOldTenants(tagRows),
    signCertificate: (tenant, order, require) => authorityKeys.sign(tenant, order, require),
    sign: (leaseId, data, algorithm) => signer.sign(leaseId, data, algorithm),
    checkpointSigner,
    status: () => seal.status(),
    async seal() {
      try {
        await seal.seal()
      } finally {
        signer.clear()
      }
    },
    unseal: () => seal.unseal(),
    async close() {
      signer.clear()
      await reports.close()
      await state.close()
    },
  }
}
