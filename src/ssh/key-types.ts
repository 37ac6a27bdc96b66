import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { Reader, WireError, type Writer } from './wire.ts'

/** The fields of a key, once its type is known. */
export interface KeyFields {
  readonly key: KeyObject
  readonly bits: number
  /** The bytes of a key that consists only of bytes. */
  readonly bytes?: Buffer
  /** Of a security key: the relying party that it signs for, as in `ssh:`. */
  readonly application?: string
}

/** A signature algorithm, and the hash that node:crypto is to use; null where it brings its own. */
export interface SignatureAlgorithm {
  readonly name: string
  readonly hash: string | null
}

/** Everything that this program knows about one type of key. */
export interface KeyType {
  readonly name: string
  /** The name of a certificate for such a key: PROTOCOL.certkeys of OpenSSH. */
  readonly certificateName: string
  /** The node:crypto name of the keys below it, and of their curve. */
  readonly material: string
  readonly curve?: string
  /** Its signature algorithms, best first. None uses SHA-1. */
  readonly algorithms: readonly SignatureAlgorithm[]
  /** Its signatures state flags and a counter, and cover an application: PROTOCOL.u2f of OpenSSH. */
  readonly isSecurityKey: boolean
  /**
   * Reads the fields after the type's name; a problem is worded for the person who uploaded the
   * key.
   */
  read(reader: Reader): KeyFields | { readonly problem: string }
  /** Writes the fields of read() in canonical form. */
  write(writer: Writer, fields: Omit<KeyFields, 'bits'>): Writer
  /** A signature as the wire has it, in the form that node:crypto verifies; throws WireError. */
  readSignature(signature: Reader, fields: KeyFields): Buffer
}

const rsaBitsMin = 2048
const rsaBitsMax = 16_384
const exponentMin = 65_537n
/** OpenSSL takes no longer ones either with a long modulus: a verification would take seconds. */
const exponentBitsMax = 64
const applicationPattern = /^ssh:[!-~]{0,250}$/

const ed25519: KeyType = {
  name: 'ssh-ed25519',
  certificateName: certificateName('ssh-ed25519'),
  material: 'ed25519',
  algorithms: [{ name: 'ssh-ed25519', hash: null }],
  isSecurityKey: false,
  read: readEd25519,
  write: (writer, fields) => writer.string(fields.bytes ?? member(fields.key, 'x')),
  readSignature: (reader) => fixed(reader.string(), 64),
}

const rsa: KeyType = {
  name: 'ssh-rsa',
  certificateName: certificateName('ssh-rsa'),
  material: 'rsa',
  algorithms: [
    { name: 'rsa-sha2-512', hash: 'sha512' },
    { name: 'rsa-sha2-256', hash: 'sha256' },
  ],
  isSecurityKey: false,
  read: readRsa,
  write: (writer, { key }) => writer.mpint(member(key, 'e')).mpint(member(key, 'n')),
  // PuTTY leaves out leading zero bytes, in one signature of 256; OpenSSH pads too.
  readSignature: (reader, { bits }) => padded(reader.string(), Math.ceil(bits / 8)),
}

const ecdsa256 = ecdsa(256, 'prime256v1', 'sha256')
const ecdsa384 = ecdsa(384, 'secp384r1', 'sha384')
const ecdsa521 = ecdsa(521, 'secp521r1', 'sha512')

const types: readonly KeyType[] = [
  ed25519,
  ecdsa256,
  ecdsa384,
  ecdsa521,
  rsa,
  securityKey('sk-ssh-ed25519@openssh.com', ed25519),
  securityKey('sk-ecdsa-sha2-nistp256@openssh.com', ecdsa256),
]

const typesByName: ReadonlyMap<string, KeyType> = new Map(types.map((type) => [type.name, type]))
const typesByCertificateName: ReadonlyMap<string, KeyType> = new Map(
  types.map((type) => [type.certificateName, type]),
)
const plainAlgorithms: ReadonlyMap<string, string> = new Map(
  types.flatMap(({ algorithms }) => algorithms.map(({ name }) => [certificateName(name), name])),
)

/** Names of the key types that are accepted: best first. */
export const keyTypeNames: readonly string[] = types.map((type) => type.name)

/** Names of the certificate types that are accepted: best first. */
export const certificateTypeNames: readonly string[] = types.map((type) => type.certificateName)

export function findKeyType(name: string): KeyType | undefined {
  return typesByName.get(name)
}

/** The type of the key that a certificate of this type was made for. */
export function findCertifiedKeyType(name: string): KeyType | undefined {
  return typesByCertificateName.get(name)
}

/** The type that a key of node:crypto has on the wire. */
export function findKeyTypeOf(key: KeyObject): KeyType | undefined {
  const curve = key.asymmetricKeyDetails?.namedCurve
  return types.find(
    (type) =>
      !type.isSecurityKey && type.material === key.asymmetricKeyType && type.curve === curve,
  )
}

/** Signature algorithms that a key of this type may be used with: best first; none for an unknown type. */
export function signatureAlgorithms(type: string): readonly string[] {
  return findKeyType(type)?.algorithms.map((algorithm) => algorithm.name) ?? []
}

/**
 * The signature algorithm of a certificate's key, when a login names this certificate algorithm.
 * Undefined for names that are not a certificate's, and for SHA-1.
 */
export function certifiedSignatureAlgorithm(name: string): string | undefined {
  return plainAlgorithms.get(name)
}

/** The reason why a type of key is not in the table, worded for the person who uploaded it. */
export function refuseKeyType(name: string): string {
  if (/-cert-v\d\d@openssh\.com$/.test(name)) {
    return 'this is a certificate; give the plain public key that it was made for'
  }
  if (name === 'ssh-dss') {
    return 'DSA keys are refused: they are limited to 1024 bits and SHA-1; use ssh-ed25519'
  }
  return `unknown type of key; accepted are ${keyTypeNames.join(', ')}`
}

function readEd25519(reader: Reader) {
  // A copy, not a view: verification must use the bytes that were read, even if that memory
  // changes.
  const bytes = Buffer.from(reader.string())
  if (bytes.length !== 32) return { problem: 'an Ed25519 key has 32 bytes; this one does not' }
  let key: KeyObject | undefined
  return {
    bits: 256,
    bytes,
    // Any 32 bytes are a key, and most keys are only compared, so the key object is made at the
    // first verification.
    get key() {
      key ??= createPublicKey(encodeEd25519Pem(bytes))
      return key
    },
  }
}

const ed25519Info = Buffer.from('302a300506032b6570032100', 'hex')

/** RFC 8410 section 4, in PEM: Node reads it in a quarter of the time for a JWK. */
function encodeEd25519Pem(bytes: Buffer): string {
  const info = Buffer.concat([ed25519Info, bytes]).toString('base64')
  return `-----BEGIN PUBLIC KEY-----\n${info}\n-----END PUBLIC KEY-----\n`
}

function readRsa(reader: Reader) {
  const e = reader.mpint()
  const n = reader.mpint()
  const bits = bitLength(n)
  if (bits < rsaBitsMin)
    return { problem: `an RSA key needs at least ${rsaBitsMin} bits; this one has ${bits}` }
  if (bits > rsaBitsMax)
    return { problem: `an RSA key may have at most ${rsaBitsMax} bits; this one has ${bits}` }
  if (bitLength(e) > exponentBitsMax) {
    return {
      problem: `the RSA exponent may have at most ${exponentBitsMax} bits; this one has ${bitLength(e)}`,
    }
  }
  const exponent = e.length === 0 ? 0n : BigInt(`0x${e.toString('hex')}`)
  if (exponent % 2n === 0n || exponent < exponentMin) {
    return {
      problem: `the RSA exponent must be odd and at least ${exponentMin}; it is ${exponent}`,
    }
  }
  if ((n.at(-1) ?? 0) % 2 === 0)
    return { problem: 'the RSA modulus is even, so the key is not valid' }
  return keyFields({ kty: 'RSA', e: e.toString('base64url'), n: n.toString('base64url') }, bits)
}

/** RFC 5656: a curve's name a second time, and a point on it. */
function ecdsa(bits: 256 | 384 | 521, curve: string, hash: string): KeyType {
  const identifier = `nistp${bits}`
  const name = `ecdsa-sha2-${identifier}`
  const length = Math.ceil(bits / 8)
  return {
    name,
    certificateName: certificateName(name),
    material: 'ec',
    curve,
    algorithms: [{ name, hash }],
    isSecurityKey: false,
    read(reader) {
      if (reader.text() !== identifier) return { problem: 'the curve is not that of the key type' }
      const point = reader.string()
      // The compressed forms would be second spellings of the same key.
      if (point[0] !== 4 || point.length !== 1 + 2 * length) {
        return { problem: `the point is not an uncompressed point of ${identifier}` }
      }
      const x = point.toString('base64url', 1, 1 + length)
      const y = point.toString('base64url', 1 + length)
      return keyFields({ kty: 'EC', crv: `P-${bits}`, x, y }, bits)
    },
    write: (writer, { key }) =>
      writer
        .text(identifier)
        .string(Buffer.concat([Buffer.of(4), member(key, 'x'), member(key, 'y')])),
    readSignature: (reader) => readEcdsaPair(new Reader(reader.string()), length),
  }
}

/** A FIDO key: the fields of its base type, then the application. Its signatures say more: signature.ts. */
function securityKey(name: string, base: KeyType): KeyType {
  return {
    ...base,
    name,
    certificateName: certificateName(name),
    algorithms: base.algorithms.map(({ hash }) => ({ name, hash })),
    isSecurityKey: true,
    read(reader) {
      const fields = base.read(reader)
      const application = reader.text()
      if ('problem' in fields) return fields
      // Another application's signatures are a web site's logins, which are not made to open hosts.
      if (!applicationPattern.test(application)) {
        return { problem: 'the application of a security key must start with ssh:' }
      }
      return { ...fields, application }
    },
    write: (writer, fields) => base.write(writer, fields).text(fields.application ?? ''),
  }
}

/** Fails closed: a key that OpenSSL refuses, for example a point off its curve, is not a key. */
function keyFields(jwk: JsonWebKey, bits: number): KeyFields | { problem: string } {
  try {
    return { key: createPublicKey({ key: jwk, format: 'jwk' }), bits }
  } catch {
    return { problem: 'the numbers of this key do not form a valid key' }
  }
}

/** r and s, one beside the other at full length: the form of IEEE P1363. */
function readEcdsaPair(reader: Reader, length: number): Buffer {
  const r = padded(reader.mpint(), length)
  const s = padded(reader.mpint(), length)
  reader.end()
  return Buffer.concat([r, s])
}

function fixed(bytes: Buffer, length: number): Buffer {
  if (bytes.length !== length) throw new WireError('a signature has the wrong length')
  return bytes
}

function padded(bytes: Buffer, length: number): Buffer {
  if (bytes.length > length) throw new WireError('a signature has the wrong length')
  return Buffer.concat([Buffer.alloc(length - bytes.length), bytes])
}

function bitLength(magnitude: Buffer): number {
  const [first] = magnitude
  return first === undefined ? 0 : magnitude.length * 8 - (Math.clz32(first) - 24)
}

/** `-cert-v01` goes in front of the domain, where there is one. */
function certificateName(name: string): string {
  const [plain = '', domain = 'openssh.com'] = name.split('@')
  return `${plain}-cert-v01@${domain}`
}

/** One number of a public key. */
function member(key: KeyObject, name: 'x' | 'y' | 'e' | 'n'): Buffer {
  const value = key.export({ format: 'jwk' })[name]
  if (typeof value !== 'string') throw new TypeError(`a key without ${name}`)
  return Buffer.from(value, 'base64url')
}
