/**
 * BVE1 and BVE2: a sealed value that knows its place. `docs/formats/envelope.md` describes both.
 *
 * The header names the key that sealed it. The context says where the caller expects to find it; it
 * never comes from the row, and it is bound into the encryption. So an envelope that was moved to
 * another tenant, path, version, kind or key does not open. BVE2 binds the public half as well: an
 * envelope beside another public key does not open either.
 */

import { hash, randomFillSync, timingSafeEqual } from 'node:crypto'
import {
  commitmentBytes,
  decrypt,
  encrypt,
  hkdfExpand,
  keyBytes,
  saltBytes,
  secretBuffer,
} from './cobblestone.ts'

/** The kinds of values in envelopes. A value sealed as one kind cannot be opened as another. */
export const envelopeKinds = {
  secret: 1,
  wrappedDek: 2,
  wrappedKek: 3,
  recordingKey: 4,
  auditPayload: 5,
  sealCheck: 6,
} as const

export type EnvelopeKind = keyof typeof envelopeKinds

/** The place of an envelope. The tenant comes from the caller's capability, never from the row. */
export interface Place {
  readonly tenant: string
  readonly path: string
  readonly version: number
  readonly kind: EnvelopeKind
  /**
   * The public text that belongs to the value, whole; '' if it has none. With this field the
   * envelope is BVE2, without it BVE1.
   */
  readonly publicText?: string
}

/** A key that seals envelopes, with the name that it goes by in their headers. */
export interface EnvelopeKey {
  /** 16 bytes, derived from the key: a key cannot be given another one's name. */
  readonly id: Buffer
  readonly version: number
  readonly bytes: Buffer
}

export type EnvelopeFormat = 1 | 2

interface EnvelopeHeader {
  readonly kind: EnvelopeKind
  readonly keyVersion: number
  readonly keyId: Buffer
}

const magics: Readonly<Record<EnvelopeFormat, Buffer>> = {
  1: Buffer.from('BVE1'),
  2: Buffer.from('BVE2'),
}
const magicBytes = 4
const suite = 1
const idBytes = 16
const headerBytes = magicBytes + 1 + 1 + 4 + idBytes

/** The bytes that an envelope adds to its first 16 KiB: header, salt, commitment and one tag. */
const envelopeOverheadBytes = headerBytes + saltBytes + commitmentBytes + 16

/** Takes the bytes over: wipeKey() wipes them, the caller does not. */
export function envelopeKey(bytes: Buffer, version: number): EnvelopeKey {
  if (bytes.length !== keyBytes) throw new RangeError('a key has 32 bytes')
  return { id: hkdfExpand(bytes, Buffer.from('vaultterm.key-id@v1'), idBytes), version, bytes }
}

export function wipeKey(key: EnvelopeKey): void {
  key.bytes.fill(0)
}

/** Seals plaintext for its place. The salt is random unless a test vector gives one. */
export function sealEnvelope(
  key: EnvelopeKey,
  place: Place,
  plaintext: Uint8Array,
  salt?: Uint8Array,
): Buffer {
  const header = encodeHeader(key, place)
  return Buffer.concat([header, encrypt(key.bytes, contextOf(key, place), plaintext, salt)])
}

/**
 * The plaintext, or undefined when this key did not seal this envelope for this place.
 *
 * One key is tried, the one the caller names; there is no fallback to others. The caller owns the
 * plaintext and wipes it.
 */
export function openEnvelope(
  key: EnvelopeKey,
  place: Place,
  envelope: Uint8Array,
): Buffer | undefined {
  if (envelope.length < envelopeOverheadBytes) return undefined
  const header = encodeHeader(key, place)
  if (!timingSafeEqual(header, envelope.subarray(0, headerBytes))) return undefined
  return decrypt(key.bytes, contextOf(key, place), envelope.subarray(headerBytes))
}

/** Reads which key an envelope names: to choose the key, never to believe it. */
export function parseHeader(envelope: Buffer): EnvelopeHeader | undefined {
  if (envelope.length < envelopeOverheadBytes) return undefined
  const kind = kindOf(envelope[4])
  if (formatOf(envelope) === undefined || kind === undefined) return undefined
  if (envelope[5] !== suite) return undefined
  const keyId = envelope.subarray(headerBytes - idBytes, headerBytes)
  return { kind, keyVersion: envelope.readUInt32BE(6), keyId }
}

/** The format that an envelope claims. Whether it is one shows when it is opened. */
export function formatOf(envelope: Uint8Array): EnvelopeFormat | undefined {
  const start = Buffer.from(envelope.subarray(0, magicBytes))
  if (start.equals(magics[1])) return 1
  return start.equals(magics[2]) ? 2 : undefined
}

function kindOf(code: number | undefined): EnvelopeKind | undefined {
  switch (code) {
    case envelopeKinds.secret:
      return 'secret'
    case envelopeKinds.wrappedDek:
      return 'wrappedDek'
    case envelopeKinds.wrappedKek:
      return 'wrappedKek'
    case envelopeKinds.recordingKey:
      return 'recordingKey'
    case envelopeKinds.auditPayload:
      return 'auditPayload'
    case envelopeKinds.sealCheck:
      return 'sealCheck'
    default:
      return undefined
  }
}

function encodeHeader(key: EnvelopeKey, { kind, publicText }: Place): Buffer {
  const magic = magics[publicText === undefined ? 1 : 2]
  const header = Buffer.concat([magic, Buffer.of(envelopeKinds[kind], suite, 0, 0, 0, 0), key.id])
  header.writeUInt32BE(key.version, 6)
  return header
}

/** Every field, always, in this order, each with its length: no two places share a context. */
function contextOf(key: EnvelopeKey, place: Place): Buffer {
  if (!Number.isInteger(place.version) || place.version < 0) {
    throw new RangeError('a version must be a whole number')
  }
  const { publicText } = place
  return encodeFields([
    ['v', publicText === undefined ? 'BVE1' : 'BVE2'],
    ['tenant', place.tenant],
    ['path', place.path],
    ['version', String(place.version)],
    ['kind', String(envelopeKinds[place.kind])],
    ['kid', key.id.toString('hex')],
    ['kver', String(key.version)],
    ...(publicText === undefined ? [] : [['public', hash('sha256', publicText)] as const]),
  ])
}

/** Length-prefixed names and values: u32 big-endian length, then UTF-8. */
export function encodeFields(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(
    fields.flat().flatMap((text) => {
      const length = Buffer.alloc(4)
      length.writeUInt32BE(Buffer.byteLength(text))
      return [length, Buffer.from(text)]
    }),
  )
}

/** 32 random bytes in memory of their own. */
export function randomKeyBytes(): Buffer {
  return randomFillSync(secretBuffer(keyBytes))
}
