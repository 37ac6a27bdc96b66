import { parsePublicKeyBlob } from './public-key.ts'
import {
  type AuthorityRevocations,
  certificateSection,
  formatFingerprint,
  formatVersion,
  magic,
  parseRevocationList,
  section,
} from './revocation-list.ts'
import { Writer } from './wire.ts'

/** The contents that encodeRevocationList writes. */
export interface RevocationListContents {
  /** Grows with each list that is published. */
  readonly version: bigint
  readonly date: Date
  readonly comment: string
  readonly authorities: readonly AuthorityRevocations[]
  /** Revoked keys as on the wire: users', hosts', or CA keys with all that they signed. */
  readonly keys: readonly Buffer[]
  /** The same by `SHA256:…`. */
  readonly fingerprints: Iterable<string>
}

/**
 * The bytes of a KRL, as `sshd` takes them from the file of its setting `RevokedKeys`. The same
 * contents always make the same bytes. They are not signed: make sure that no other user can write
 * the file.
 *
 * Throws TypeError for contents that a server could not read, because a server that cannot read its
 * list refuses all keys.
 */
export function encodeRevocationList(contents: RevocationListContents): Buffer {
  const writer = new Writer()
    .bytes(magic)
    .u32(formatVersion)
    .u64(contents.version)
    .u64(BigInt(Math.floor(contents.date.getTime() / 1000)))
    .u64(0n) // flags
    .text('') // reserved
    .text(contents.comment)
  for (const revocations of contents.authorities) {
    writer.u8(section.certificates).string(encodeAuthority(revocations))
  }
  writeStrings(writer, section.explicitKeys, contents.keys.map(plainKey))
  const hashes = [...contents.fingerprints].map(fingerprintBytes)
  writeStrings(writer, section.sha256Fingerprints, hashes)
  const encoded = writer.build()
  const parsed = parseRevocationList(encoded)
  if ('problem' in parsed) throw new TypeError(parsed.problem)
  return encoded
}

function encodeAuthority(revocations: AuthorityRevocations): Buffer {
  const { authority } = revocations
  const writer = new Writer()
    .string(authority === undefined ? Buffer.alloc(0) : plainKey(authority))
    .text('') // reserved
  const serials = [...revocations.serials].sort((a, b) => (a < b ? -1 : 1))
  if (serials.length > 0) {
    const list = serials.reduce((list, serial) => list.u64(serial), new Writer())
    writer.u8(certificateSection.serialList).string(list.build())
  }
  for (const { first, last } of revocations.serialRanges) {
    writer.u8(certificateSection.serialRange).string(new Writer().u64(first).u64(last).build())
  }
  const keyIds = [...revocations.keyIds].map((keyId) => Buffer.from(keyId))
  writeStrings(writer, certificateSection.keyIds, keyIds)
  return writer.build()
}

/** A section of sorted strings, or none when there is no string. */
function writeStrings(writer: Writer, type: number, strings: readonly Buffer[]): void {
  if (strings.length === 0) return
  const content = strings
    .toSorted(Buffer.compare)
    .reduce((content, bytes) => content.string(bytes), new Writer())
  writer.u8(type).string(content.build())
}

function plainKey(blob: Buffer): Buffer {
  const parsed = parsePublicKeyBlob(blob)
  if ('problem' in parsed) throw new TypeError(parsed.problem)
  return blob
}

function fingerprintBytes(text: string): Buffer {
  const bytes = Buffer.from(text.replace(/^SHA256:/, ''), 'base64')
  if (formatFingerprint(bytes) !== text) throw new TypeError('a fingerprint starts with SHA256:')
  return bytes
}
