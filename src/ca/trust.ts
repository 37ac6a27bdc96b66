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

/** The authorities that a tenant trusts, and the certificates that it no longer does. */
export interface Trust {
  /** Active and retired ones: a next one has signed nothing yet. */
  readonly authorities: readonly { readonly generation: number; readonly publicKey: Buffer }[]
  readonly revocations: KeyRevocationList
}

/** The stored fields of a login's certificate. */
interface CertificateName {
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
 * The authorities and revocations that a certificate is checked against, as of this transaction. Only
 * revocations that can concern this certificate are read: the time does not grow with their number.
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

/** Whether each user certificate is still trusted, in their order: not revoked, and of a trusted authority. */
export function standing(
  tx: ReadTx,
  certificates: readonly CertificateName[],
): Promise<readonly boolean[]> {
  return listStanding(tx, certificates, retiredSeconds.user)
}

/**
 * The revocation list in OpenSSH's format. The same revocations make the same bytes. The
 * authorities must be checked, because the list has their keys.
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
