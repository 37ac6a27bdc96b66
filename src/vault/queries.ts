/** Row-level security narrows every statement here, but those on vault_state, to the tenant of the transaction. */

import type { ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import type { SealedRecord, WrappedKek } from './keyring.ts'

export interface StateRow {
  readonly sealed: boolean
  readonly kekId: string
  readonly sealCheck: Buffer
  /** Of the last seal: the database makes a new one at each. Null before the first. */
  readonly sealId: string | null
  /** Made with the operator's key when that seal was taken off. */
  readonly openProof: Buffer | null
}

/** A version of a secret: the fields of the tree, with the private key sealed. */
export interface SecretRow extends SealedRecord {
  readonly version: number
  readonly createdAt: Date
  readonly lastRotated: Date
  readonly rotationPolicy: string
  readonly wrappedKek: Buffer
}

export interface NewSecret extends SealedRecord {
  readonly path: string
  readonly version: number
  readonly rotationPolicy: string
}

export function findState(tx: ReadTx): Promise<StateRow | undefined> {
  return tx.maybe(
    `select sealed, kek_id as "kekId", seal_check as "sealCheck", seal_id as "sealId",
       open_proof as "openProof" from vault_state`,
  )
}

/** SQLSTATE of a transaction that meets a sealed vault. */
export const sealedState = 'VT001'

export async function requireUnsealed(tx: ReadTx): Promise<void> {
  await tx.one('select vault_require_unsealed()')
}

/** The first process to come makes the row; the others find it. */
export function insertState(tx: WriteTx, kekId: string, sealCheck: Buffer): Promise<number> {
  return tx.run(
    'insert into vault_state (kek_id, seal_check) values ($1, $2) on conflict do nothing',
    [kekId, sealCheck],
  )
}

/** 0 when it already was so. */
export function setSealed(tx: WriteTx): Promise<number> {
  return tx.run('update vault_state set sealed = true, changed_at = now() where not sealed')
}

/** Takes the seal of a row off. 0 when another process was faster, or it was sealed again. */
export function setUnsealed(
  tx: WriteTx,
  { sealId, openProof: oldProof }: StateRow,
  newProof: Buffer,
): Promise<number> {
  return tx.run(
    `update vault_state set sealed = false, open_proof = $2, changed_at = now()
     where seal_id = $1 and open_proof is not distinct from $3`,
    [sealId, newProof, oldProof],
  )
}

/** Delivered when the transaction commits, to every process that listens; or never. */
export async function notifySealed(tx: WriteTx, channel: string): Promise<void> {
  await tx.run("select notify_if_room($1, '')", [channel])
}

/** The database takes no version beyond this one. */
export const versionMax = 32

/** Newest first. Any login of the application can add one, so read the newest that opens. */
export function listKeks(tx: ReadTx): Promise<WrappedKek[]> {
  return tx.many(
    `select version, wrapped from vault_kek
       order by version > ${versionMax}, version desc limit ${versionMax + 1}`,
  )
}

export function findKek(tx: ReadTx, version: number): Promise<WrappedKek | undefined> {
  return tx.maybe('select version, wrapped from vault_kek where version = $1', [version])
}

/** A tenant with a new key has no rows without tags. 0 when another transaction has made that version. */
export function insertKek(tx: WriteTx, { version, wrapped }: WrappedKek): Promise<number> {
  return tx.run(
    `insert into vault_kek (version, wrapped, records_tagged) values ($1, $2, true)
       on conflict do nothing`,
    [version, wrapped],
  )
}

/** The tenants whose rows may have no tags. Across tenants. */
export async function listUntaggedTenants(tx: ReadTx): Promise<readonly TenantId[]> {
  const rows = await tx.many<{ tenant: TenantId }>(
    'select distinct tenant_id as tenant from vault_kek where not records_tagged',
  )
  return rows.map(({ tenant }) => tenant)
}

/** Puts the same key in its new envelope in the place of the old one; false when that is not there. */
export async function replaceKek(
  tx: WriteTx,
  old: WrappedKek,
  { wrapped }: WrappedKek,
): Promise<boolean> {
  const { replaced } = await tx.one<{ replaced: boolean }>(
    'select vault_kek_replace($1, $2, $3) as replaced',
    [old.version, old.wrapped, wrapped],
  )
  return replaced
}

const secretColumns = `s.version, s.kek_version as "kekVersion", s.dek, s.private_key as sealed,
  s.public_key as "publicKey", s.created_at as "createdAt", s.last_rotated as "lastRotated",
  s.rotation_policy as "rotationPolicy", k.wrapped as "wrappedKek"`

/** Newest first. Any login of the application can add one, so read the newest that opens. */
export function listSecrets(tx: ReadTx, path: string): Promise<SecretRow[]> {
  return tx.many(
    `select ${secretColumns} from vault_secret s
       join vault_kek k on k.tenant_id = s.tenant_id and k.version = s.kek_version
       where s.path = $1
       order by s.version > ${versionMax}, s.version desc limit ${versionMax + 1}`,
    [path],
  )
}

export function findSecret(
  tx: ReadTx,
  path: string,
  version: number,
): Promise<SecretRow | undefined> {
  return tx.maybe(
    `select ${secretColumns} from vault_secret s
       join vault_kek k on k.tenant_id = s.tenant_id and k.version = s.kek_version
       where s.path = $1 and s.version = $2`,
    [path, version],
  )
}

/** 0 when another transaction has made that version. */
export function insertSecret(tx: WriteTx, secret: NewSecret): Promise<number> {
  return tx.run(
    `insert into vault_secret
       (path, version, kek_version, dek, private_key, public_key, rotation_policy)
     values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing`,
    [
      secret.path,
      secret.version,
      secret.kekVersion,
      secret.dek,
      secret.sealed,
      secret.publicKey,
      secret.rotationPolicy,
    ],
  )
}
