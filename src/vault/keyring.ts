/**
 * The hierarchy under the operator's key: KEK, then a tenant's KEK in versions, then one DEK for
 * each record. A rotation above rewraps keys and never touches a payload.
 */

import type { TenantId } from '../postgres/index.ts'
import {
  type EnvelopeKey,
  envelopeKey,
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
    return { version, wrapped: await kek.wrap(key, kekPlace(tenant, version)) }
  } finally {
    key.fill(0)
  }
}

/** Seals a payload as the record of a place, under a new key of its own. */
export function sealRecord(
  kek: Kek,
  tenantKek: WrappedKek,
  place: RecordPlace,
  payload: Uint8Array,
): Promise<SealedRecord> {
  return withTenantKek(kek, place.tenant, tenantKek, async (wrapping) => {
    const dek = envelopeKey(randomKeyBytes(), 1)
    try {
      return {
        kekVersion: wrapping.version,
        dek: sealEnvelope(wrapping, { ...place, kind: 'wrappedDek' }, dek.bytes),
        sealed: sealEnvelope(dek, { ...place, kind: 'secret' }, payload),
      }
    } finally {
      wipeKey(dek)
    }
  })
}

/**
 * Opens the record of a place for one use. The payload and every key on the way to it are wiped
 * when use has ended, so nothing of it may be kept.
 */
export function useRecord<T>(
  kek: Kek,
  tenantKek: WrappedKek,
  place: RecordPlace,
  record: SealedRecord,
  use: (payload: Buffer) => T | Promise<T>,
): Promise<T> {
  return withTenantKek(kek, place.tenant, tenantKek, async (wrapping) => {
    const bytes = openEnvelope(wrapping, { ...place, kind: 'wrappedDek' }, record.dek)
    if (bytes === undefined) throw new SecretDamaged(`the data key of ${place.path}`)
    const dek = envelopeKey(bytes, 1)
    try {
      const payload = openEnvelope(dek, { ...place, kind: 'secret' }, record.sealed)
      if (payload === undefined) throw new SecretDamaged(place.path)
      try {
        return await use(payload)
      } finally {
        payload.fill(0)
      }
    } finally {
      wipeKey(dek)
    }
  })
}

async function withTenantKek<T>(
  kek: Kek,
  tenant: TenantId,
  { version, wrapped }: WrappedKek,
  use: (key: EnvelopeKey) => Promise<T>,
): Promise<T> {
  const bytes = await kek.unwrap(wrapped, kekPlace(tenant, version))
  if (bytes === undefined) throw new SecretDamaged(`the key of tenant ${tenant}`)
  const key = envelopeKey(bytes, version)
  try {
    return await use(key)
  } finally {
    wipeKey(key)
  }
}

function kekPlace(tenant: TenantId, version: number): Place {
  return { tenant, path: `kek/${tenant}`, version, kind: 'wrappedKek' }
}
