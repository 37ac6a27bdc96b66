/**
 * BVT1: a tag over a public row that only VaultTerm may write. `docs/formats/envelope.md` describes it.
 *
 * A tag is an HMAC under a key of the tenant. It says that VaultTerm wrote these very values for this
 * tenant; it does not say that they are the newest ones.
 */

import { hash, timingSafeEqual } from 'node:crypto'
import { hkdfExpand, hmac } from './cobblestone.ts'
import { type EnvelopeKey, encodeFields } from './envelope.ts'

/** A row that decides which keys and passkeys may log in, or which host is the right one. */
export interface TaggedRecord {
  readonly kind: 'target' | 'user-key' | 'passkey'
  /** Unique among the tenant's rows of its kind. */
  readonly id: string
  /** Every value that is relied on, in a fixed order. A list is its length, then its items. */
  readonly fields: readonly (readonly [name: string, value: string])[]
}

const magic = Buffer.from('BVT1')
const macBytes = 32
const versionBytes = 4
export const tagBytes = magic.length + versionBytes + macBytes

/** The key of a tenant's tags, derived from its key-encryption key. The caller wipes it. */
export function tagKey(key: EnvelopeKey): Buffer {
  return hkdfExpand(key.bytes, Buffer.from('vaultterm.record-tag@v1'), 32)
}

/** `BVT1`, the version of the tenant's key, and 32 bytes of HMAC-SHA-512. */
export function makeTag(
  key: Uint8Array,
  keyVersion: number,
  tenant: string,
  record: TaggedRecord,
): Buffer {
  const version = Buffer.alloc(versionBytes)
  version.writeUInt32BE(keyVersion)
  const mac = hmac(key, [encodeRecord(tenant, record), version]).subarray(0, macBytes)
  return Buffer.concat([magic, version, mac])
}

export function isTagOf(
  tag: Uint8Array,
  key: Uint8Array,
  keyVersion: number,
  tenant: string,
  record: TaggedRecord,
): boolean {
  const expected = makeTag(key, keyVersion, tenant, record)
  return tag.length === tagBytes && timingSafeEqual(expected, tag)
}

/** The version of the tenant's key that a tag names: to choose the key, never to believe it. */
export function keyVersionOf(tag: Buffer): number | undefined {
  if (tag.length !== tagBytes || !tag.subarray(0, magic.length).equals(magic)) return undefined
  return tag.readUInt32BE(magic.length)
}

/** Names a row with its tag by its content: two that differ in anything have two names. */
export function contentId(tenant: string, record: TaggedRecord, tag: Buffer | null): string {
  return hash('sha256', Buffer.concat([encodeRecord(tenant, record), tag ?? Buffer.of(0)]))
}

function encodeRecord(tenant: string, { kind, id, fields }: TaggedRecord): Buffer {
  return encodeFields([['v', 'BVT1'], ['tenant', tenant], ['kind', kind], ['id', id], ...fields])
}
