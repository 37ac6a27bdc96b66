/**
 * The hierarchy under the operator's key: KEK, then a tenant's KEK in versions, then one DEK for
 * each record. A rotation above rewraps keys and never touches a payload.
 */

import type { TenantId } from '../postgres/index.ts'
import {
  type EnvelopeFormat,
  type EnvelopeKey,
  type EnvelopeKind,
  envelopeKey,
  formatOf,
  openEnvelope,
  type Place,
  randomKeyBytes,
  sealEnvelope,
  wipeKey,
} from './envelope.ts'
import { SecretDamaged } from './errors.ts'
import type { Kek } from './kek.ts'

/** A tenant's key-encryption key as it is stored. */
export interface WrappedKek {
  readonly version: number
  readonly wrapped: Buffer
}

/** A record as it is stored: its payload under its own key, that key under the tenant's. */
export interface SealedRecord {
  readonly kekVersion: number
  readonly dek: Buffer
  readonly sealed: Buffer
  /** The public half as it stands beside it, whole; '' for none. A BVE1 record does not bind it. */
  readonly publicKey: string
}

/** Where a record stands: bound into both of its envelopes. */
export interface RecordPlace {
  readonly tenant: TenantId
  readonly path: string
  readonly version: number
}

/** A new key for a tenant, wrapped. */
export async function wrapNewKek(kek: Kek, tenant: TenantId, version: number): Promise<WrappedKek> {
  const key = randomKeyBytes()
  try {
    return { version, wrapped: await kek.wrap(key, kekPlace(tenant, version, 2)) }
  } finally {
    key.fill(0)
  }
}

/** Seals a payload as the record of a place, under a new key of its own, with its public half. */
export function sealRecord(
  kek: Kek,
  tenantKek: WrappedKek,
  place: RecordPlace,
  payload: Uint8Array,
  publicKey = '',
): Promise<SealedRecord> {
  return withTenantKek(kek, place.tenant, tenantKek, async (wrapping) => {
    const dek = envelopeKey(randomKeyBytes(), 1)
    try {
      const bound = { ...place, publicText: publicKey }
      return {
        kekVersion: wrapping.version,
        dek: sealEnvelope(wrapping, { ...bound, kind: 'wrappedDek' }, dek.bytes),
        sealed: sealEnvelope(dek, { ...bound, kind: 'secret' }, payload),
        publicKey,
      }
    } finally {
      wipeKey(dek)
    }
  })
}

/**
 * Opens the record of a place for one use. The payload and every key on the way to it are wiped
 * after use, so use must not keep any part of it.
 */
export function useRecord<T>(
  kek: Kek,
  tenantKek: WrappedKek,
  place: RecordPlace,
  record: SealedRecord,
  use: (payload: Buffer) => T | Promise<T>,
): Promise<T> {
  return withDek(kek, tenantKek, place, record, async (dek) => {
    const payload = openEnvelope(dek, placeOf(place, record, 'secret'), record.sealed)
    if (payload === undefined) throw new SecretDamaged(place.path)
    try {
      return await use(payload)
    } finally {
      payload.fill(0)
    }
  })
}

/** Whether the record binds its public half. Where it does not, only the private one can prove it. */
export function bindsPublicKey({ dek }: SealedRecord): boolean {
  return formatOf(dek) === 2
}

/** Throws SecretDamaged unless the record was sealed with this very public half. Opens no private key. */
export async function requirePublicKey(
  kek: Kek,
  tenantKek: WrappedKek,
  place: RecordPlace,
  record: SealedRecord,
): Promise<void> {
  if (!bindsPublicKey(record)) throw new RangeError('a BVE1 record cannot bind its public half')
  await withDek(kek, tenantKek, place, record, async () => {})
}

function withDek<T>(
  kek: Kek,
  tenantKek: WrappedKek,
  place: RecordPlace,
  record: SealedRecord,
  use: (dek: EnvelopeKey) => Promise<T>,
): Promise<T> {
  return withTenantKek(kek, place.tenant, tenantKek, async (wrapping) => {
    const bytes = openEnvelope(wrapping, placeOf(place, record, 'wrappedDek'), record.dek)
    if (bytes === undefined) throw new SecretDamaged(`the data key of ${place.path}`)
    const dek = envelopeKey(bytes, 1)
    try {
      return await use(dek)
    } finally {
      wipeKey(dek)
    }
  })
}

/** Opens a tenant's key for one use; it is wiped when use has ended. */
export async function withTenantKek<T>(
  kek: Kek,
  tenant: TenantId,
  { version, wrapped }: WrappedKek,
  use: (key: EnvelopeKey) => Promise<T>,
): Promise<T> {
  const bytes = await kek.unwrap(wrapped, kekPlace(tenant, version, formatOf(wrapped)))
  if (bytes === undefined) throw new SecretDamaged(`the key of tenant ${tenant}`)
  const key = envelopeKey(bytes, version)
  try {
    return await use(key)
  } finally {
    wipeKey(key)
  }
}

/** The same key, wrapped as BVE2. */
export function rewrapKek(kek: Kek, tenant: TenantId, wrapped: WrappedKek): Promise<WrappedKek> {
  return withTenantKek(kek, tenant, wrapped, async ({ version, bytes }) => ({
    version,
    wrapped: await kek.wrap(bytes, kekPlace(tenant, version, 2)),
  }))
}

function kekPlace(tenant: TenantId, version: number, format: EnvelopeFormat | undefined): Place {
  const publicText = format === 2 ? { publicText: '' } : {}
  return { tenant, path: `kek/${tenant}`, version, kind: 'wrappedKek', ...publicText }
}

/** Both envelopes of a record have one format. */
function placeOf(place: RecordPlace, record: SealedRecord, kind: EnvelopeKind): Place {
  const publicText = bindsPublicKey(record) ? { publicText: record.publicKey } : {}
  const { tenant, path, version } = place
  return { tenant, path, version, kind, ...publicText }
}
