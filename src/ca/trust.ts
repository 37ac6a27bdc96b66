import type { ReadTx } from '../postgres/index.ts'
import {
  type CertificateKind,
  encodeRevocationList,
  type KeyRevocationList,
  parseRevocationList,
} from '../ssh/index.ts'
import { isTrusted, retiredSeconds } from './authority.ts'
import {
  type AuthorityRow,
  findRevision,
  listAuthorities,
  listRevocations,
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

/** What certificates of a kind are checked against, as it stands in this transaction. */
export async function trust(tx: ReadTx, kind: CertificateKind): Promise<Trust> {
  const now = new Date()
  const rows = await listAuthorities(tx, kind)
  const believed = rows.filter((row) => row.state !== 'next' && isTrusted(row, now))
  const parsed = parseRevocationList(await encodeRevocations(tx, kind, rows))
  if ('problem' in parsed) throw new Error(parsed.problem)
  return { authorities: believed, revocations: parsed.list }
}

/** Of some certificates of users, in their order: whether each is neither revoked nor of a past authority. */
export function standing(
  tx: ReadTx,
  certificates: readonly CertificateName[],
): Promise<readonly boolean[]> {
  return listStanding(tx, certificates, retiredSeconds.user)
}

/** The list of what is revoked, as OpenSSH reads it. The same revocations make the same bytes. */
export async function encodeRevocations(
  tx: ReadTx,
  kind: CertificateKind,
  authorities: readonly AuthorityRow[],
): Promise<Buffer> {
  const revision = await findRevision(tx, kind)
  const rows = revision === 0n ? [] : await listRevocations(tx, kind)
  return encodeRevocationList({
    version: revision + 1n,
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
