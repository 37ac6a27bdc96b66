import { appendEvent } from '../audit/index.ts'
import type { Database, TenantId, WriteTx } from '../postgres/index.ts'
import type { CertificateKind } from '../ssh/index.ts'
import { RevocationInvalid } from './errors.ts'
import { insertRevocation, listAuthorities, type RevocationRow } from './queries.ts'

/** A certificate or a key that is no longer trusted: exactly one of the three. */
export interface Revocation {
  /** One certificate, by its serial in a generation; default: the active generation. */
  readonly serial?: bigint
  readonly generation?: number
  /** All certificates with this key id. */
  readonly keyId?: string
  /** Every certificate that holds this key, or was signed by it. `SHA256:…` */
  readonly fingerprint?: string
}

const keyIdPattern = /^[\x20-\x7e]{1,1024}$/
const fingerprintPattern = /^SHA256:[A-Za-z0-9+/]{43}$/
const serialMax = 2n ** 63n - 1n

/** False when it was revoked before. Throws RevocationInvalid. */
export async function revoke(
  database: Database,
  tenant: TenantId,
  kind: CertificateKind,
  revocation: Revocation,
  by: object,
): Promise<boolean> {
  const { serial, keyId, fingerprint } = revocation
  if ([serial, keyId, fingerprint].filter((value) => value !== undefined).length !== 1) {
    throw new RevocationInvalid('give exactly one of a serial, a key id and a key')
  }
  if (serial !== undefined && (serial < 1n || serial > serialMax)) {
    throw new RevocationInvalid('a serial is a number from 1')
  }
  if (keyId !== undefined && !keyIdPattern.test(keyId)) {
    throw new RevocationInvalid('a key id is 1 to 1024 printable ASCII characters')
  }
  if (fingerprint !== undefined && !fingerprintPattern.test(fingerprint)) {
    throw new RevocationInvalid('a key is named by its fingerprint: SHA256:…')
  }
  return database.write(tenant, async (tx) => {
    const authorities = await listAuthorities(tx, kind)
    const of =
      revocation.generation ?? authorities.find(({ state }) => state === 'active')?.generation
    if (serial !== undefined && !authorities.some(({ generation }) => generation === of)) {
      throw new RevocationInvalid(`there is no generation ${of ?? 1} of the ${kind} authority`)
    }
    const row = {
      generation: serial === undefined ? null : (of ?? null),
      serial: serial?.toString() ?? null,
      keyId: keyId ?? null,
      fingerprint: fingerprint ?? null,
    }
    return put(tx, kind, row, by)
  })
}

/** One user certificate. False when it was revoked before. */
export function revokeSerial(
  tx: WriteTx,
  { generation, serial }: { readonly generation: number; readonly serial: string },
  by: object,
): Promise<boolean> {
  return put(tx, 'user', { generation, serial, keyId: null, fingerprint: null }, by)
}

async function put(
  tx: WriteTx,
  kind: CertificateKind,
  row: RevocationRow,
  by: object,
): Promise<boolean> {
  if ((await insertRevocation(tx, kind, row)) === 0) return false
  await appendEvent(tx, {
    type: 'cert.revoke',
    public: {
      certKind: kind,
      generation: row.generation?.toString(),
      serial: row.serial ?? undefined,
      fingerprint: row.fingerprint ?? undefined,
      ...by,
    },
    private: { keyId: row.keyId ?? undefined },
  })
  return true
}
