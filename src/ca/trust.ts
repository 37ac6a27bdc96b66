import type { ReadTx, TenantId } from '../postgres/index.ts'
import {
  type Certificate,
  type CertificateKind,
  encodeRevocationList,
  fingerprint,
  type KeyRevocationList,
  parseRevocationList,
} from '../ssh/index.ts'
import type { Vault } from '../vault/index.ts'
import { authentic, isTrusted, retiredSeconds } from './authority.ts'
import {
  type AuthorityRow,
  findRevision,
  listAuthorities,
  listRevocations,
  listRevocationsOf,
  listStanding,
  type RevocationRow,
} from './queries.ts'

/** Whose certificates are believed in a tenant, and which of them are not. */
export interface Trust {
  /** Active and retired ones: a next one has signed nothing yet. */
  readonly authorities: readonly { readonly generation: number; readonly publicKey: Buffer }[]
  readonly revocations: KeyRevocationList
}

/** The certificate that somebody came with, as it is kept. */
export interface CertificateName {
  readonly generation: number
  /** Decimal. */
  readonly serial: string
  readonly keyId: string
  /** Of the certified key. */
  readonly fingerprint: string
}

/** No authority gives a larger one. */
const serialMax = 2n ** 63n - 1n

/**
 * What a certificate is checked against, as it stands in this transaction. Of all that was revoked
 * only what may be about this one is looked for: how much there is does not show in the time.
 */
export async function trust(
  vault: Pick<Vault, 'isAuthorityKey'>,
  tx: ReadTx,
  tenant: TenantId,
  kind: CertificateKind,
  certificate: Certificate | undefined,
): Promise<Trust> {
  const now = new Date()
  const authorities = await authentic(vault, tx, tenant, await listAuthorities(tx, kind))
  const rows = await listRevocationsOf(tx, kind, {
    generations: authorities.map(({ generation }) => generation),
    serial: (certificate !== undefined && certificate.serial <= serialMax
      ? certificate.serial
      : 0n
    ).toString(),
    keyId: certificate?.keyId ?? '',
    fingerprints: [certificate?.publicKey, certificate?.signatureKey].flatMap((key) =>
      key === undefined ? [] : fingerprint(key),
    ),
  })
  const parsed = parseRevocationList(encodeRows(kind, authorities, rows, 1n))
  if ('problem' in parsed) throw new Error(parsed.problem)
  const believed = authorities.filter((row) => row.state !== 'next' && isTrusted(row, now))
  return { authorities: believed, revocations: parsed.list }
}

/** Of some certificates of users, in their order: whether each is neither revoked nor of a past authority. */
export function standing(
  tx: ReadTx,
  certificates: readonly CertificateName[],
): Promise<readonly boolean[]> {
  return listStanding(tx, certificates, retiredSeconds.user)
}

/**
 * The revocation list as OpenSSH reads it. The same revocations make the same bytes. The authorities
 * must be checked: their keys stand in it.
 */
export async function encodeRevocations(
  tx: ReadTx,
  kind: CertificateKind,
  authorities: readonly AuthorityRow[],
): Promise<Buffer> {
  const revision = await findRevision(tx, kind)
  const rows = revision === 0n ? [] : await listRevocations(tx, kind)
  return encodeRows(kind, authorities, rows, revision + 1n)
}

function encodeRows(
  kind: CertificateKind,
  authorities: readonly AuthorityRow[],
  rows: readonly RevocationRow[],
  version: bigint,
): Buffer {
  return encodeRevocationList({
    version,
    date: new Date(0),
    comment: `vaultterm ${kind} certificates`,
    authorities: rows.length === 0 ? [] : authorities.flatMap((one) => revokedOf(one, rows)),
    keys: [],
    fingerprints: rows.flatMap(({ fingerprint }) => fingerprint ?? []),
  })
}

function revokedOf({ generation, publicKey }: AuthorityRow, rows: readonly RevocationRow[]) {
  const own = rows.filter((row) => row.generation === generation)
  const serials = own.flatMap(({ serial }) => (serial === null ? [] : BigInt(serial)))
  const keyIds = rows.flatMap(({ keyId }) => keyId ?? [])
  if (serials.length === 0 && keyIds.length === 0) return []
  return [{ authority: publicKey, serials, serialRanges: [], keyIds }]
}
