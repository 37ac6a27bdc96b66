/** Row-level security narrows every statement here to the tenant of the transaction. */

import type { ReadTx, WriteTx } from '../postgres/index.ts'
import type { CertificateKind } from '../ssh/index.ts'
import type { Authority, AuthorityState, Serial } from './generation.ts'

export interface AuthorityRow {
  readonly kind: CertificateKind
  readonly generation: number
  readonly state: AuthorityState
  readonly publicKey: Buffer
  readonly fingerprint: string
  readonly createdAt: Date
  readonly retiredAt: Date | null
}

export interface RevocationRow {
  readonly generation: number | null
  readonly serial: string | null
  readonly keyId: string | null
  readonly fingerprint: string | null
}

const authorityColumns = `kind, generation, state, public_key as "publicKey", fingerprint,
  created_at as "createdAt", retired_at as "retiredAt"`

export function listAuthorities(tx: ReadTx, kind: CertificateKind): Promise<AuthorityRow[]> {
  return tx.many(
    `select ${authorityColumns} from certificate_authority where kind = $1 order by generation`,
    [kind],
  )
}

/**
 * The same, with a lock until the transaction ends: two rotations at once would be one too many.
 */
export function lockAuthorities(tx: WriteTx, kind: CertificateKind): Promise<AuthorityRow[]> {
  return tx.many(
    `select ${authorityColumns} from certificate_authority
       where kind = $1 order by generation for update`,
    [kind],
  )
}

/** 0 when another transaction has made that generation. */
export function insertAuthority(
  tx: WriteTx,
  authority: Pick<Authority, 'kind' | 'generation' | 'state' | 'publicKey' | 'fingerprint'>,
): Promise<number> {
  const { kind, generation, state, publicKey, fingerprint } = authority
  return tx.run(
    `insert into certificate_authority
       (kind, generation, state, public_key, fingerprint, activated_at)
     values ($1, $2, $3, $4, $5, case when $3 = 'active' then now() end) on conflict do nothing`,
    [kind, generation, state, publicKey, fingerprint],
  )
}

export async function setAuthorityState(
  tx: WriteTx,
  kind: CertificateKind,
  generation: number,
  state: 'active' | 'retired',
): Promise<void> {
  await tx.run(
    `update certificate_authority set state = $3,
       activated_at = case when $3 = 'active' then now() else activated_at end,
       retired_at = case when $3 = 'retired' then now() end
     where kind = $1 and generation = $2`,
    [kind, generation, state],
  )
}

/** An authority beyond it gives no serials. No honest one comes near. */
const serialMax = 2n ** 62n

/**
 * Takes a number of serials, up to the last, of the generation that is in this state; undefined if
 * there is none, or it has no serials left.
 */
export function takeSerials(
  tx: WriteTx,
  kind: CertificateKind,
  state: AuthorityState,
  count: number,
): Promise<{ readonly generation: number; readonly last: string } | undefined> {
  return tx.maybe(
    `update certificate_authority set last_serial = last_serial + $3
       where kind = $1 and state = $2 and last_serial < $4
       returning generation, last_serial::text as last`,
    [kind, state, count, String(serialMax)],
  )
}

export async function areSerialsLeft(
  tx: ReadTx,
  kind: CertificateKind,
  state: AuthorityState,
): Promise<boolean> {
  const found = await tx.maybe(
    `select from certificate_authority
       where kind = $1 and state = $2 and last_serial < $3`,
    [kind, state, String(serialMax)],
  )
  return found !== undefined
}

/** SQLSTATE of a transaction whose authority is not in the required state. */
export const authorityTurned = 'VT002'

export async function requireAuthority(
  tx: WriteTx,
  kind: CertificateKind,
  state: AuthorityState,
  { generation, serial }: Serial,
): Promise<void> {
  await tx.one('select certificate_authority_require($1, $2, $3, $4)', [
    kind,
    generation,
    state,
    String(serial),
  ])
}

/** Grows with each revocation; 0 before the first. */
export async function findRevision(tx: ReadTx, kind: CertificateKind): Promise<bigint> {
  const { revision } = await tx.one<{ revision: string }>(
    `select coalesce(max(id), 0)::text as revision from certificate_revocation where kind = $1`,
    [kind],
  )
  return BigInt(revision)
}

export function listRevocations(tx: ReadTx, kind: CertificateKind): Promise<RevocationRow[]> {
  return tx.many(
    `select generation, serial::text as serial, key_id as "keyId", fingerprint
       from certificate_revocation where kind = $1 order by id`,
    [kind],
  )
}

/** The revocations that may concern one certificate, by the index that has them all. */
export function listRevocationsOf(
  tx: ReadTx,
  kind: CertificateKind,
  certificate: {
    readonly generations: readonly number[]
    /** Decimal; issued serials fit into a bigint. */
    readonly serial: string
    readonly keyId: string
    readonly fingerprints: readonly string[]
  },
): Promise<RevocationRow[]> {
  const { generations, serial, keyId, fingerprints } = certificate
  return tx.many(
    `select generation, serial::text as serial, key_id as "keyId", fingerprint
       from certificate_revocation
       where kind = $1 and (
         (coalesce(generation, 0) = any($5::int[]) and coalesce(serial, 0) = $2::bigint)
         or (coalesce(generation, 0) = 0 and coalesce(serial, 0) = 0
           and coalesce(key_id, '') = $3 and key_id is not null)
         or (coalesce(generation, 0) = 0 and coalesce(serial, 0) = 0 and coalesce(key_id, '') = ''
           and coalesce(fingerprint, '') = any($4::text[])))`,
    [kind, serial, keyId, fingerprints, generations],
  )
}

/** 0 when it was revoked before. */
export function insertRevocation(
  tx: WriteTx,
  kind: CertificateKind,
  { generation, serial, keyId, fingerprint }: RevocationRow,
): Promise<number> {
  return tx.run(
    `insert into certificate_revocation (kind, generation, serial, key_id, fingerprint)
       values ($1, $2, $3, $4, $5) on conflict do nothing`,
    [kind, generation, serial, keyId, fingerprint],
  )
}

/** For some user certificates, in their order: whether each is still valid. */
export async function listStanding(
  tx: ReadTx,
  certificates: readonly {
    readonly generation: number
    readonly serial: string
    readonly keyId: string
    readonly fingerprint: string
  }[],
  retiredSeconds: number,
): Promise<readonly boolean[]> {
  const rows = await tx.many<{ good: boolean }>(
    `select a.generation is not null and not exists (
         select from certificate_revocation r where r.kind = 'user' and (
           (r.generation = c.generation and r.serial = c.serial) or r.key_id = c.key_id
             or r.fingerprint in (c.fingerprint, a.fingerprint))) as good
       from unnest($1::int[], $2::bigint[], $3::text[], $4::text[]) with ordinality
           as c(generation, serial, key_id, fingerprint, place)
         left join certificate_authority a on a.kind = 'user' and a.generation = c.generation
           and (a.retired_at is null or a.retired_at > now() - make_interval(secs => $5))
       order by c.place`,
    [
      certificates.map(({ generation }) => generation),
      certificates.map(({ serial }) => serial),
      certificates.map(({ keyId }) => keyId),
      certificates.map(({ fingerprint }) => fingerprint),
      retiredSeconds,
    ],
  )
  return rows.map(({ good }) => good)
}

/** A certificate for a key of a user's own. */
export interface UserCertificateRow {
  readonly id: string
  readonly generation: number
  /** Decimal. */
  readonly serial: string
  readonly fingerprint: string
  readonly issuedAt: Date
  readonly expiresAt: Date
}

/** Each question is one of the index of revocations. */
const isNone = `r.tenant_id = c.tenant_id and r.kind = 'user' and coalesce(r.key_id, '') = ''`
const live = `expires_at > now()
  and not exists (select from certificate_revocation r where ${isNone}
    and coalesce(r.generation, 0) = c.generation and coalesce(r.serial, 0) = c.serial
    and coalesce(r.fingerprint, '') = '')
  and not exists (select from certificate_revocation r where ${isNone}
    and coalesce(r.generation, 0) = 0 and coalesce(r.serial, 0) = 0
    and coalesce(r.fingerprint, '') = c.fingerprint)`

/** Forgets the user's that ended a month ago. The user has a way in from now on. */
export async function insertUserCertificate(
  tx: WriteTx,
  user: string,
  { generation, serial, fingerprint, expiresAt }: Omit<UserCertificateRow, 'id' | 'issuedAt'>,
): Promise<void> {
  await tx.run(
    `with old as (delete from user_certificate
       where user_id = $1 and expires_at < now() - interval '30 days'),
     arrived as (update app_user set arrived_at = now() where id = $1 and arrived_at is null)
     insert into user_certificate (user_id, generation, serial, fingerprint, expires_at)
       values ($1, $2, $3, $4, $5)`,
    [user, generation, serial, fingerprint, expiresAt],
  )
}

/** Those that log the user in now, the last one first. */
export function listUserCertificates(tx: ReadTx, user: string): Promise<UserCertificateRow[]> {
  return tx.many(
    `select id, generation, serial::text as serial, fingerprint, issued_at as "issuedAt",
         expires_at as "expiresAt"
       from user_certificate c where user_id = $1 and ${live} order by issued_at desc, id`,
    [user],
  )
}

export async function countUserCertificates(tx: ReadTx, user: string): Promise<number> {
  const { count } = await tx.one<{ count: number }>(
    `select count(*)::integer as count from user_certificate
       where user_id = $1 and expires_at > now()`,
    [user],
  )
  return count
}

export async function isRevokedKey(tx: ReadTx, fingerprint: string): Promise<boolean> {
  const { isRevoked } = await tx.one<{ isRevoked: boolean }>(
    `select exists (select from certificate_revocation
       where kind = 'user' and fingerprint = $1) as "isRevoked"`,
    [fingerprint],
  )
  return isRevoked
}

/**
 * How a key lets this user in by itself; undefined if it is not registered as theirs. Somebody else can
 * register it too: a public key proves nothing.
 */
export function findRegistered(
  tx: ReadTx,
  user: string,
  fingerprint: string,
): Promise<{ readonly end: Date | null; readonly verifyRequired: boolean } | undefined> {
  return tx.maybe(
    `select expires_at as end, verify_required as "verifyRequired"
       from user_key where user_id = $1 and fingerprint = $2`,
    [user, fingerprint],
  )
}
