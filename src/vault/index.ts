/**
 * The vault: keeps tenants' keys sealed, and signs with them without giving them out.
 *
 * A private key is sealed under a key of its own, that under its tenant's, that under the
 * operator's. The vault parses what it signs, signs once for each lease, and has each use in the
 * audit log before the key is opened. Sealed, it does nothing on any node.
 */

export type { CertificateOrder, CertificateWish } from './authority-key.ts'
export { KeyMissing, RecordChanged, VaultSealed } from './errors.ts'
export { createKekFile, type Kek, openKek } from './kek.ts'
export type { TaggedRecord } from './record-tag.ts'
export type { TaggedRow, TagRecord } from './record-tags.ts'
export type { VaultStatus } from './seal.ts'
export type { KeyLease, LeaseWish } from './signing.ts'
export { createVault, type Vault } from './vault.ts'
