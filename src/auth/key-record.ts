import type { TaggedRecord, TaggedRow } from '../vault/index.ts'

/** The values of a registered key that a login relies on. */
export interface KeyRecord {
  readonly userId: string
  readonly blob: Buffer
  readonly fingerprint: string
  readonly expiresAt: Date | null | undefined
  readonly verifyRequired: boolean
}

/**
 * The fields of a registered key that its tag covers: the user, the key, its end and its options.
 */
export function keyRecord(key: KeyRecord): TaggedRecord {
  const { userId, blob, fingerprint, expiresAt, verifyRequired } = key
  return {
    kind: 'user-key',
    id: fingerprint,
    fields: [
      ['user', userId],
      ['blob', blob.toString('base64')],
      ['expires', expiresAt?.toISOString() ?? ''],
      ['verify', verifyRequired ? '1' : '0'],
    ],
  }
}

export function taggedRow(row: KeyRecord & { readonly tag: Buffer | null }): TaggedRow {
  return { record: keyRecord(row), tag: row.tag }
}
