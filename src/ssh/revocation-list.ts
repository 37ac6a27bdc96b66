import { createHash } from 'node:crypto'
import type { Certificate } from './certificate.ts'
import { findKeyType } from './key-types.ts'
import { fingerprint } from './public-key.ts'
import { Reader, WireError } from './wire.ts'

/** Serials from the first to the last, both included. */
export interface SerialRange {
  readonly first: bigint
  readonly last: bigint
}

/** Revoked certificates of one authority. */
export interface AuthorityRevocations {
  /** The CA key as on the wire; left out, certificates of every authority are meant. */
  readonly authority?: Buffer
  /** Not 0: that is the serial of authorities that give none. */
  readonly serials: Iterable<bigint>
  readonly serialRanges: readonly SerialRange[]
  readonly keyIds: Iterable<string>
}

/** A KRL that was read, ready to be asked. */
export interface KeyRevocationList {
  readonly version: bigint
  readonly date: Date
  readonly comment: string
  readonly authorities: readonly ParsedAuthorityRevocations[]
  /** By fingerprint. */
  readonly keys: ReadonlyMap<string, Buffer>
  /** `SHA256:…` */
  readonly fingerprints: ReadonlySet<string>
  /** Hexadecimal. Only lists of others have them. */
  readonly sha1Fingerprints: ReadonlySet<string>
}

export interface ParsedAuthorityRevocations extends AuthorityRevocations {
  readonly serials: ReadonlySet<bigint>
  readonly serialBitmaps: readonly SerialBitmap[]
  readonly keyIds: ReadonlySet<string>
}

/** Serials by the bits of a number: its lowest bit is the first serial. Only lists of others have it. */
export interface SerialBitmap {
  readonly first: bigint
  readonly bits: Buffer
}

export type ParsedRevocationList =
  | { readonly list: KeyRevocationList }
  | { readonly problem: string }

/** The first bytes of every list. */
export const magic = Buffer.from('SSHKRL\n\0')
/** Comes behind it. */
export const formatVersion = 1
const listBytesMax = 64 * 1024 * 1024
const serialMax = 2n ** 64n - 1n
/** The last second that a Date can hold. */
const secondsMax = 8_640_000_000_000n
const certificateNamePattern = /-cert-v\d\d@openssh\.com$/

/** Sections: PROTOCOL.krl of OpenSSH. */
export const section = {
  certificates: 1,
  explicitKeys: 2,
  sha1Fingerprints: 3,
  signature: 4,
  sha256Fingerprints: 5,
  extension: 255,
} as const

/** Sections of a section of certificates. */
export const certificateSection = {
  serialList: 0x20,
  serialRange: 0x21,
  serialBitmap: 0x22,
  keyIds: 0x23,
  extension: 0x39,
} as const

/**
 * Parses a KRL. A list with a damaged or unknown part is refused: the caller must then accept no
 * key, because the lost part may be the one that matters.
 *
 * Signed lists are refused, as OpenSSH refuses them since 9.4.
 */
export function parseRevocationList(bytes: Buffer): ParsedRevocationList {
  if (bytes.length > listBytesMax) return { problem: 'this is too long for a revocation list' }
  try {
    return { list: readList(new Reader(Buffer.from(bytes))) }
  } catch (err) {
    if (err instanceof WireError)
      return { problem: `this revocation list cannot be used: ${err.message}` }
    throw err
  }
}

/**
 * Whether a list revokes a certificate, by its serial, its key id, its key or its authority's key;
 * or a plain key, given as on the wire. Bytes that are not a plain key of a known type count as
 * revoked.
 */
export function isRevoked(list: KeyRevocationList, subject: Certificate | Buffer): boolean {
  if (Buffer.isBuffer(subject)) return !isPlainKey(subject) || isKeyRevoked(list, subject)
  return (
    isKeyRevoked(list, subject.publicKey) ||
    isKeyRevoked(list, subject.signatureKey) ||
    list.authorities.some((revocations) => isCertificateRevoked(revocations, subject))
  )
}

function isKeyRevoked(list: KeyRevocationList, key: Buffer): boolean {
  const name = fingerprint(key)
  return (
    list.keys.has(name) ||
    list.fingerprints.has(name) ||
    (list.sha1Fingerprints.size > 0 && list.sha1Fingerprints.has(sha1(key)))
  )
}

function isCertificateRevoked(
  { authority, keyIds, serials, serialRanges, serialBitmaps }: ParsedAuthorityRevocations,
  { signatureKey, keyId, serial }: Certificate,
): boolean {
  if (authority !== undefined && !authority.equals(signatureKey)) return false
  return (
    keyIds.has(keyId) ||
    serials.has(serial) ||
    serialRanges.some(({ first, last }) => first <= serial && serial <= last) ||
    serialBitmaps.some((bitmap) => hasBit(bitmap, serial - bitmap.first))
  )
}

function hasBit({ bits }: SerialBitmap, index: bigint): boolean {
  if (index < 0n || index >= BigInt(bits.length) * 8n) return false
  const byte = bits[bits.length - 1 - Number(index >> 3n)] ?? 0
  return ((byte >> Number(index & 7n)) & 1) === 1
}

function isPlainKey(blob: Buffer): boolean {
  try {
    return findKeyType(new Reader(blob).text()) !== undefined
  } catch (err) {
    if (err instanceof WireError) return false
    throw err
  }
}

function readList(reader: Reader): KeyRevocationList {
  if (!reader.bytes(magic.length).equals(magic))
    throw new WireError('it does not start like a revocation list')
  if (reader.u32() !== formatVersion) throw new WireError('its format is unknown')
  const version = reader.u64()
  const seconds = reader.u64()
  if (seconds > secondsMax) throw new WireError('its date is not valid')
  if (reader.u64() !== 0n) throw new WireError('its flags are unknown')
  if (reader.string().length > 0) throw new WireError('its reserved field is in use')
  const comment = reader.text()
  const authorities: ParsedAuthorityRevocations[] = []
  const keys = new Map<string, Buffer>()
  const fingerprints = new Set<string>()
  const sha1Fingerprints = new Set<string>()
  while (reader.left > 0) {
    const type = reader.u8()
    const content = new Reader(reader.string())
    switch (type) {
      case section.certificates:
        authorities.push(readAuthority(content))
        break
      case section.explicitKeys:
        for (const key of readStrings(content)) keys.set(fingerprint(key), checkKey(key))
        break
      case section.sha1Fingerprints:
        for (const hash of readStrings(content, 20)) sha1Fingerprints.add(hash.toString('hex'))
        break
      case section.sha256Fingerprints:
        for (const hash of readStrings(content, 32)) fingerprints.add(formatFingerprint(hash))
        break
      case section.signature:
        throw new WireError('it is signed, but servers do not check signatures')
      case section.extension:
        skipExtension(content)
        break
      default:
        throw new WireError('it has an unknown section')
    }
    content.end()
  }
  const date = new Date(Number(seconds) * 1000)
  return { version, date, comment, authorities, keys, fingerprints, sha1Fingerprints }
}

function readAuthority(reader: Reader): ParsedAuthorityRevocations {
  const authority = reader.string()
  if (reader.string().length > 0) throw new WireError('one of its reserved fields is in use')
  const serials = new Set<bigint>()
  const serialRanges: SerialRange[] = []
  const serialBitmaps: SerialBitmap[] = []
  const keyIds = new Set<string>()
  while (reader.left > 0) {
    const type = reader.u8()
    const content = new Reader(reader.string())
    switch (type) {
      case certificateSection.serialList:
        while (content.left > 0) serials.add(checkSerial(content.u64()))
        break
      case certificateSection.serialRange:
        serialRanges.push(readRange(content))
        break
      case certificateSection.serialBitmap:
        serialBitmaps.push(readBitmap(content))
        break
      case certificateSection.keyIds:
        for (const keyId of readStrings(content)) keyIds.add(checkKeyId(keyId))
        break
      case certificateSection.extension:
        skipExtension(content)
        break
      default:
        throw new WireError('its list of certificates has an unknown section')
    }
    content.end()
  }
  return {
    ...(authority.length === 0 ? {} : { authority: checkKey(authority) }),
    serials,
    serialRanges,
    serialBitmaps,
    keyIds,
  }
}

function readRange(reader: Reader): SerialRange {
  const first = checkSerial(reader.u64())
  const last = reader.u64()
  if (last < first) throw new WireError('a range of serials ends before it starts')
  return { first, last }
}

function readBitmap(reader: Reader): SerialBitmap {
  const first = checkSerial(reader.u64())
  const bits = reader.mpint()
  const unused = Math.clz32(bits[0] ?? 0) - 24
  if (first + BigInt(bits.length * 8 - unused) - 1n > serialMax) {
    throw new WireError('a bitmap of serials goes past the last one')
  }
  return { first, bits }
}

/** One that is critical holds revocations of a kind that is not known here. */
function skipExtension(reader: Reader): void {
  reader.text()
  if (reader.boolean()) throw new WireError('it has an unknown critical extension')
  reader.string()
}

function readStrings(reader: Reader, length?: number): Buffer[] {
  const strings: Buffer[] = []
  while (reader.left > 0) {
    const bytes = reader.string()
    if (length !== undefined && bytes.length !== length)
      throw new WireError('a hash has the wrong length')
    strings.push(bytes)
  }
  return strings
}

function checkSerial(serial: bigint): bigint {
  if (serial === 0n) throw new WireError('serial 0 cannot be revoked')
  return serial
}

/** OpenSSH reads these as C strings. */
function checkKeyId(bytes: Buffer): string {
  const keyId = bytes.toString()
  if (!Buffer.from(keyId).equals(bytes) || keyId.includes('\0')) {
    throw new WireError('one of its key ids is not text')
  }
  return keyId
}

/** Keys of types that are refused everywhere may be revoked; a certificate would match no key. */
function checkKey(blob: Buffer): Buffer {
  if (certificateNamePattern.test(new Reader(blob).text())) {
    throw new WireError('a certificate stands where a key belongs')
  }
  return blob
}

/** As OpenSSH prints the SHA-256 of a key. */
export function formatFingerprint(hash: Buffer): string {
  return `SHA256:${hash.toString('base64').replace(/=+$/, '')}`
}

function sha1(bytes: Buffer): string {
  return createHash('sha1').update(bytes).digest('hex')
}
