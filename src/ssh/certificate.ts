import { findCertifiedKeyType, findKeyType, type KeyType } from './key-types.ts'
import { decodePublicKey } from './public-key.ts'
import { decodeSignature } from './signature.ts'
import { Reader, WireError, Writer } from './wire.ts'

/** The subject of a certificate: a user who logs in, or a host. */
export type CertificateKind = 'user' | 'host'

/**
 * Values by name. A flag is the empty string, the value of a known option its text; of an option
 * that is not known here, the bytes as they are.
 */
export type CertificateOptions = ReadonlyMap<string, Buffer | string>

/** The fields that a CA key signs: PROTOCOL.certkeys of OpenSSH. */
export interface CertificateFields {
  /** Random, so that a person who asks for a certificate cannot foresee the hashed bytes. */
  readonly nonce: Buffer
  /** The certified key, in the same form as one without a certificate. */
  readonly publicKey: Buffer
  readonly serial: bigint
  readonly kind: CertificateKind
  /** Servers print it in their logs for each login with the certificate. */
  readonly keyId: string
  readonly principals: readonly string[]
  /** Seconds since 1970; valid from this one on. */
  readonly validAfter: bigint
  /** Seconds since 1970; valid until the one before it. */
  readonly validBefore: bigint
  /** A reader that does not know one of these must refuse the certificate. */
  readonly criticalOptions: CertificateOptions
  /** A reader that does not know one of these ignores it. */
  readonly extensions: CertificateOptions
  /** The CA key, as on the wire. */
  readonly signatureKey: Buffer
}

/** A well-formed certificate. Trust no field before checkCertificate accepts it. */
export interface Certificate extends CertificateFields {
  readonly type: string
  readonly blob: Buffer
  /** As on the wire: algorithm, then signature. */
  readonly signature: Buffer
  /** The bytes that the signature covers. */
  readonly toBeSigned: Buffer
}

export type ParsedCertificate = { readonly certificate: Certificate } | { readonly problem: string }

const blobBytesMax = 65_536
const nonceBytesMin = 16
const nonceBytesMax = 64
const keyIdLengthMax = 1024
/** As in OpenSSH: `SSHKEY_CERT_MAX_PRINCIPALS`. */
const principalsMax = 256
/** A name of an option, and of a principal, is printable ASCII without spaces. */
const namePattern = /^[!-~]{1,255}$/
/** Characters that separate names, or match other names, in the lists and patterns of OpenSSH. */
const patternCharacters = /[*?!,]/
/** It ends up in logs and on terminals. */
const unprintablePattern = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

const kinds: ReadonlyMap<number, CertificateKind> = new Map([
  [1, 'user'],
  [2, 'host'],
])
const kindNumbers: Readonly<Record<CertificateKind, number>> = { user: 1, host: 2 }

/** Whether an option holds one text, or says all by being there. */
type OptionForm = 'text' | 'flag'
const criticalOptionForms: ReadonlyMap<string, OptionForm> = new Map([
  ['force-command', 'text'],
  ['source-address', 'text'],
  ['verify-required', 'flag'],
])
const extensionForms: ReadonlyMap<string, OptionForm> = new Map([
  ['no-touch-required', 'flag'],
  ['permit-X11-forwarding', 'flag'],
  ['permit-agent-forwarding', 'flag'],
  ['permit-port-forwarding', 'flag'],
  ['permit-pty', 'flag'],
  ['permit-user-rc', 'flag'],
])

/**
 * Parses a certificate as it is on the wire. Takes bytes from strangers and never throws for them.
 *
 * It says that the form is right: whether the certificate is worth anything is the affair of
 * checkCertificate, and whether its presenter holds the certified key that of the login.
 */
export function parseCertificate(blob: Buffer): ParsedCertificate {
  if (blob.length > blobBytesMax) return { problem: 'this is too long for a certificate' }
  const own = Buffer.from(blob)
  try {
    const reader = new Reader(own)
    const body = readBody(reader, own)
    const toBeSigned = own.subarray(0, own.length - reader.left)
    const signature = reader.string()
    reader.end()
    const authority = decodePublicKey(body.signatureKey)
    if ('problem' in authority)
      throw new WireError(`the key of its authority: ${authority.problem}`)
    decodeSignature(authority, signature)
    return { certificate: { ...body, blob: own, signature, toBeSigned } }
  } catch (err) {
    if (err instanceof WireError)
      return { problem: `this certificate cannot be used: ${err.message}` }
    throw err
  }
}

/**
 * The bytes that the CA key is to sign. Options are put in order.
 *
 * Throws TypeError for fields that do not make a certificate, or make one without principals: older
 * servers accepted such a certificate for every user (CVE-2024-7594).
 */
export function encodeCertificate(fields: CertificateFields): { readonly toBeSigned: Buffer } {
  const type = certifiedType(fields.publicKey)
  if (fields.principals.length === 0) throw new TypeError('a certificate needs a principal')
  if (fields.validAfter >= fields.validBefore) {
    throw new TypeError('a certificate must expire after it becomes valid')
  }
  const authority = decodePublicKey(fields.signatureKey)
  if ('problem' in authority) throw new TypeError(`the key of the authority: ${authority.problem}`)
  const toBeSigned = new Writer()
    .text(type.certificateName)
    .string(fields.nonce)
    .bytes(keyFieldsOf(fields.publicKey, type))
    .u64(fields.serial)
    .u32(kindNumbers[fields.kind])
    .text(fields.keyId)
    .string(encodeEach(fields.principals, (writer, principal) => writer.text(principal)))
    .u64(fields.validAfter)
    .u64(fields.validBefore)
    .string(encodeOptions(fields.criticalOptions))
    .string(encodeOptions(fields.extensions))
    .string(Buffer.alloc(0)) // reserved
    .string(fields.signatureKey)
    .build()
  // Bytes that our own parser would refuse must never be signed.
  try {
    const reader = new Reader(toBeSigned)
    readBody(reader, toBeSigned)
    reader.end()
  } catch (err) {
    if (err instanceof WireError) throw new TypeError(`not a certificate: ${err.message}`)
    throw err
  }
  return { toBeSigned }
}

/**
 * The certificate made of the output of encodeCertificate and a signature over it as on the wire:
 * algorithm, then signature. Throws TypeError when one of them is malformed; it does not verify the
 * signature.
 */
export function sealCertificate(toBeSigned: Buffer, signature: Buffer): Buffer {
  const blob = new Writer().bytes(toBeSigned).string(signature).build()
  const parsed = parseCertificate(blob)
  if ('problem' in parsed) throw new TypeError(parsed.problem)
  return blob
}

/** All that is signed. The reader is at the start of the bytes. */
function readBody(reader: Reader, bytes: Buffer): CertificateFields & { readonly type: string } {
  const name = reader.text()
  const type = findCertifiedKeyType(name)
  if (type === undefined) throw new WireError('its type is unknown')
  const nonce = reader.string()
  if (nonce.length < nonceBytesMin || nonce.length > nonceBytesMax) {
    throw new WireError(`its nonce must have ${nonceBytesMin} to ${nonceBytesMax} bytes`)
  }
  const publicKey = readPublicKey(reader, bytes, type)
  const serial = reader.u64()
  const kind = kinds.get(reader.u32())
  if (kind === undefined) throw new WireError('it is for neither users nor hosts')
  const keyId = reader.text()
  if (keyId.length > keyIdLengthMax || unprintablePattern.test(keyId)) {
    throw new WireError('its key id is too long or not printable')
  }
  const principals = readPrincipals(new Reader(reader.string()))
  const validAfter = reader.u64()
  const validBefore = reader.u64()
  const criticalOptions = readOptions(new Reader(reader.string()), criticalOptionForms)
  const extensions = readOptions(new Reader(reader.string()), extensionForms)
  if (reader.string().length > 0) throw new WireError('its reserved field is in use')
  const signatureKey = reader.string()
  // By the name alone: a certificate in a certificate in a certificate is never opened.
  if (findKeyType(new Reader(signatureKey).text()) === undefined) {
    throw new WireError('the key of its authority is not a plain key of a known type')
  }
  return {
    type: name,
    nonce,
    publicKey,
    serial,
    kind,
    keyId,
    principals,
    validAfter,
    validBefore,
    criticalOptions,
    extensions,
    signatureKey,
  }
}

function readPublicKey(reader: Reader, bytes: Buffer, type: KeyType): Buffer {
  const from = bytes.length - reader.left
  const fields = type.read(reader)
  if ('problem' in fields) throw new WireError(`its key: ${fields.problem}`)
  const written = type.write(new Writer(), fields).build()
  // As in a plain key, a second spelling would be another name for it, and that name is not
  // revoked.
  if (!written.equals(bytes.subarray(from, bytes.length - reader.left))) {
    throw new WireError('its key is not in canonical form')
  }
  return new Writer().text(type.name).bytes(written).build()
}

function readPrincipals(reader: Reader): readonly string[] {
  const principals: string[] = []
  while (reader.left > 0) {
    if (principals.length === principalsMax) {
      throw new WireError(`it has more than ${principalsMax} principals`)
    }
    const principal = reader.text()
    if (!namePattern.test(principal) || patternCharacters.test(principal)) {
      throw new WireError('one of its principals is not a plain name')
    }
    principals.push(principal)
  }
  return principals
}

function readOptions(reader: Reader, forms: ReadonlyMap<string, OptionForm>): CertificateOptions {
  const options = new Map<string, Buffer | string>()
  let last = ''
  while (reader.left > 0) {
    const name = reader.text()
    if (!namePattern.test(name))
      throw new WireError('the name of one of its options is not plain text')
    if (name <= last) throw new WireError('its options are not in order, or one appears twice')
    options.set(name, readOption(reader.string(), forms.get(name)))
    last = name
  }
  return options
}

function readOption(bytes: Buffer, form: OptionForm | undefined): Buffer | string {
  if (form === undefined) return bytes
  if (form === 'flag') {
    if (bytes.length > 0) throw new WireError('one of its flags has a value')
    return ''
  }
  const reader = new Reader(bytes)
  const text = reader.text()
  reader.end()
  if (text === '' || text.includes('\0'))
    throw new WireError('the value of one of its options is not plain text')
  return text
}

function encodeOptions(options: CertificateOptions): Buffer {
  const sorted = [...options].sort(([a], [b]) => (a < b ? -1 : 1))
  return encodeEach(sorted, (writer, [name, value]) =>
    writer.text(name).string(typeof value === 'string' ? encodeOption(value) : value),
  )
}

/** A single value is a string in the string of the option's value; a flag has none. */
function encodeOption(value: string): Buffer {
  return value === '' ? Buffer.alloc(0) : new Writer().text(value).build()
}

function encodeEach<T>(items: readonly T[], write: (writer: Writer, item: T) => Writer): Buffer {
  return items.reduce(write, new Writer()).build()
}

function certifiedType(publicKey: Buffer): KeyType {
  const decoded = decodePublicKey(publicKey)
  if ('problem' in decoded) throw new TypeError(decoded.problem)
  return decoded.type
}

/** A plain key without the name of its type in front. */
function keyFieldsOf(publicKey: Buffer, type: KeyType): Buffer {
  return publicKey.subarray(new Writer().text(type.name).build().length)
}
