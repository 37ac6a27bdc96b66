/**
 * The vault: keeps tenants' keys sealed, and signs with them without giving them out.
 *
 * A private key is sealed under a key of its own, that under its tenant's, that under the
 * operator's. The vault parses what it signs, signs once for each lease, and has each use in the
 * audit log before the key is opened. Sealed, it does nothing on any node.
 */

export type { AuthorityName, CertificateOrder, CertificateWish } from './authority-key.ts'
export {
  KekUnreadable,
  KekWrong,
  KeyMissing,
  LeasesExhausted,
  SecretDamaged,
  VaultRefused,
  VaultSealed,
} from './errors.ts'
export { createKekFile, type Kek, openKek } from './kek.ts'
export type { SshKeyDescription, SshKeyName } from './ssh-key.ts'
export {
  createVault,
  type EphemeralWish,
  type KeyLease,
  type LeaseWish,
  leaseMsMax,
  type Vault,
  type VaultDeps,
  type VaultStatus,
} from './vault.ts'
