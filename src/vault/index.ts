/**
 * The vault: keeps tenants' keys sealed, and signs with them without giving them out.
 *
 * A private key is sealed under a key of its own, that under its tenant's, that under the
 * operator's. The vault parses every request, signs once for each lease, and writes each use to the
 * audit log before it opens the key. While it is sealed it uses no key on any node. Public values that
 * others rely on are bound to the same keys: see record-tag.ts.
 */

export type { CertificateContents, CertificateOrder } from './authority-key.ts'
export { KeyMissing, RecordChanged, VaultSealed } from './errors.ts'
export { createKekFile, type Kek, openKek } from './kek.ts'
export type { TaggedRecord } from './record-tag.ts'
export type { TaggedRow, TagRecord } from './record-tags.ts'
export type { VaultStatus } from './seal.ts'
export type { KeyLease, LeaseTerms } from './signing.ts'
export { createVault, type Vault } from './vault.ts'
