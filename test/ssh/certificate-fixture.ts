import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync, hash, type KeyObject, randomBytes, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import {
  type Certificate,
  type CertificateFields,
  type CertificateUse,
  encodeCertificate,
  formatOpenSshPrivateKey,
  formatPublicKey,
  keyTypeNames,
  parseCertificate,
  sealCertificate,
  Writer,
} from '../../src/ssh/index.ts'
import { publicKeyBlob } from '../../src/ssh/public-key.ts'

/** A key pair of any type that we know; those of security keys are made by hand. */
export interface TestKey {
  readonly type: string
  readonly blob: Buffer
  /** The private key as PEM, for ssh-keygen; of a security key, useless. */
  readonly pem: string
  /** As on the wire: algorithm, then signature. */
  sign(data: Buffer, options?: SignOptions): Buffer
}

export interface SignOptions {
  /** The name in the signature, and with RSA the hash. */
  readonly algorithm?: string
  /** What a security key states. */
  readonly flags?: number
  readonly counter?: number
  /** What it signs for, when that is not what its public key says. */
  readonly application?: string
}

export const application = 'ssh:'
const hashes: { readonly [algorithm: string]: string } = {
  'ssh-rsa': 'sha1',
  'rsa-sha2-256': 'sha256',
  'rsa-sha2-512': 'sha512',
}

export const allKeyTypes = keyTypeNames

export function makeKey(type = 'ssh-ed25519'): TestKey {
  if (type.startsWith('sk-')) return makeSecurityKey(type)
  const privateKey = generate(type)
  return {
    type,
    blob: publicKeyBlob(privateKey),
    pem:
      type === 'ssh-ed25519'
        ? formatOpenSshPrivateKey(privateKey)
        : privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    sign(data, { algorithm = type === 'ssh-rsa' ? 'rsa-sha2-512' : type } = {}) {
      return new Writer()
        .text(algorithm)
        .string(bare(privateKey, data, algorithm))
        .build()
    },
  }
}

/** Of the first kind of key that is asked for, one is enough for a file of tests. */
const made = new Map<string, TestKey>()
export function someKey(type: string): TestKey {
  const key = made.get(type) ?? makeKey(type)
  made.set(type, key)
  return key
}

function makeSecurityKey(type: string): TestKey {
  const isEd25519 = type.startsWith('sk-ssh-ed25519')
  const privateKey = generate(isEd25519 ? 'ssh-ed25519' : 'ecdsa-sha2-nistp256')
  const plain = publicKeyBlob(privateKey)
  const fields = plain.subarray(4 + plain.readUInt32BE())
  return {
    type,
    blob: new Writer().text(type).bytes(fields).text(application).build(),
    pem: '',
    sign(data, options = {}) {
      const { algorithm = type, flags = 1, counter = 7 } = options
      const signed = new Writer()
        .bytes(sha256(Buffer.from(options.application ?? application)))
        .u8(flags)
        .u32(counter)
        .bytes(sha256(data))
        .build()
      return new Writer()
        .text(algorithm)
        .string(bare(privateKey, signed))
        .u8(flags)
        .u32(counter)
        .build()
    },
  }
}

function generate(type: string): KeyObject {
  if (type === 'ssh-ed25519') return generateKeyPairSync('ed25519').privateKey
  if (type === 'ssh-rsa') return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const namedCurve = `P-${type.slice(-3)}`
  return generateKeyPairSync('ec', { namedCurve }).privateKey
}

function bare(key: KeyObject, data: Buffer, algorithm = ''): Buffer {
  if (key.asymmetricKeyType === 'ed25519') return sign(null, data, key)
  if (key.asymmetricKeyType === 'rsa') return sign(hashes[algorithm] ?? 'sha512', data, key)
  const bits = { prime256v1: 256, secp384r1: 384, secp521r1: 512 }[
    key.asymmetricKeyDetails?.namedCurve ?? ''
  ]
  const pair = sign(`sha${bits}`, data, { key, dsaEncoding: 'ieee-p1363' })
  const half = pair.length / 2
  return new Writer().mpint(pair.subarray(0, half)).mpint(pair.subarray(half)).build()
}

function sha256(data: Buffer): Buffer {
  return hash('sha256', data, 'buffer')
}

/** 2026-11-23 20:00 UTC. */
export const now = new Date('2026-11-23T20:00:00Z')
export const seconds = BigInt(now.getTime() / 1000)

/** A certificate as our CA makes it, from what a test wishes. */
export function issue(wish: Partial<CertificateFields> = {}, authority = someKey('ssh-ed25519')) {
  const { toBeSigned } = encodeCertificate(fieldsOf(wish, authority))
  return sealCertificate(toBeSigned, authority.sign(toBeSigned))
}

export function fieldsOf(
  wish: Partial<CertificateFields> = {},
  authority = someKey('ssh-ed25519'),
): CertificateFields {
  return {
    nonce: randomBytes(32),
    publicKey: someKey('ecdsa-sha2-nistp256').blob,
    serial: 42n,
    kind: 'user',
    keyId: 't=acme s=1 g=2',
    principals: ['alice'],
    validAfter: seconds - 30n,
    validBefore: seconds + 90n,
    criticalOptions: new Map(),
    extensions: new Map(),
    signatureKey: authority.blob,
    ...wish,
  }
}

/** The fields of a certificate for an Ed25519 key, as bytes: nothing is checked. */
export interface RawCertificate {
  readonly type: string
  readonly nonce: Buffer
  readonly publicKey: Buffer
  readonly serial: bigint
  readonly kind: number
  readonly keyId: Buffer
  readonly principals: Buffer
  readonly validAfter: bigint
  readonly validBefore: bigint
  readonly criticalOptions: Buffer
  readonly extensions: Buffer
  readonly reserved: Buffer
  readonly signatureKey: Buffer
  /** Signs in place of the CA key. */
  readonly sign: (data: Buffer) => Buffer
  readonly behind: Buffer
}

/** A certificate with a right signature over whatever a test wants in it. */
export function craft(wish: Partial<RawCertificate> = {}, authority = someKey('ssh-ed25519')) {
  const raw: RawCertificate = {
    type: 'ssh-ed25519-cert-v01@openssh.com',
    nonce: randomBytes(32),
    publicKey: someKey('ssh-ed25519').blob.subarray(4 + 'ssh-ed25519'.length),
    serial: 42n,
    kind: 1,
    keyId: Buffer.from('id'),
    principals: strings('alice'),
    validAfter: seconds - 30n,
    validBefore: seconds + 90n,
    criticalOptions: Buffer.alloc(0),
    extensions: Buffer.alloc(0),
    reserved: Buffer.alloc(0),
    signatureKey: authority.blob,
    sign: (data) => authority.sign(data),
    behind: Buffer.alloc(0),
    ...wish,
  }
  const toBeSigned = new Writer()
    .text(raw.type)
    .string(raw.nonce)
    .bytes(raw.publicKey)
    .u64(raw.serial)
    .u32(raw.kind)
    .string(raw.keyId)
    .string(raw.principals)
    .u64(raw.validAfter)
    .u64(raw.validBefore)
    .string(raw.criticalOptions)
    .string(raw.extensions)
    .string(raw.reserved)
    .string(raw.signatureKey)
    .build()
  return new Writer().bytes(toBeSigned).string(raw.sign(toBeSigned)).bytes(raw.behind).build()
}

/** Strings one behind the other, as in lists of principals and options. */
export function strings(...items: readonly (string | Buffer)[]): Buffer {
  return items
    .reduce<Writer>((writer, item) => writer.string(Buffer.from(item)), new Writer())
    .build()
}

export function parsed(blob: Buffer): Certificate {
  const result = parseCertificate(blob)
  if ('problem' in result) throw new Error(result.problem)
  return result.certificate
}

/** A use that the certificates of this file are good for. */
export function use(wish: Partial<CertificateUse> = {}): CertificateUse {
  return {
    authorities: [someKey('ssh-ed25519').blob],
    kind: 'user',
    principal: 'alice',
    now,
    sourceAddress: '192.0.2.7',
    knownOptions: ['force-command', 'source-address', 'verify-required'],
    ...wish,
  }
}

/** A directory that goes with the test. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-certificate-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

const environment = { PATH: process.env.PATH, TZ: 'UTC', LC_ALL: 'C' }

export function sshKeygen(args: readonly string[], input = ''): string {
  return execFileSync('ssh-keygen', args, {
    input,
    encoding: 'utf8',
    env: environment,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
}

/** The exit status: for what ssh-keygen is asked, and may say no to. */
export function askSshKeygen(args: readonly string[], input = ''): number | null {
  return spawnSync('ssh-keygen', args, { input, env: environment }).status
}

/** What `ssh-keygen -L` says of a certificate, as our parser would say it. */
export function listCertificate(blob: Buffer) {
  const { length } = blob.subarray(4, 4 + blob.readUInt32BE())
  const type = blob.toString('latin1', 4, 4 + length)
  const text = sshKeygen(['-L', '-f', '-'], `${formatPublicKey({ type, blob })}\n`)
  const field = (name: string) => new RegExp(`^ {8}${name}: (.*)$`, 'm').exec(text)?.[1] ?? ''
  const list = (name: string) => {
    const [, block = ''] = new RegExp(`^ {8}${name}: *\\n((?: {16}.*\\n)*)`, 'm').exec(text) ?? []
    return block.split('\n').flatMap((line) => (line === '' ? [] : [line.slice(16)]))
  }
  return {
    type: field('Type'),
    publicKey: field('Public key').split(' ')[1],
    authority: field('Signing CA').split(' ')[1],
    keyId: field('Key ID').slice(1, -1),
    serial: field('Serial'),
    valid: field('Valid'),
    principals: list('Principals'),
    criticalOptions: list('Critical Options'),
    extensions: list('Extensions'),
  }
}

/** The files of a key as ssh-keygen has them; gives the path of the private one. */
export function writeKey(directory: string, name: string, key: TestKey): string {
  const path = join(directory, name)
  if (key.pem !== '') writeFileSync(path, key.pem, { mode: 0o600 })
  writeFileSync(`${path}.pub`, `${formatPublicKey(key)}\n`)
  return path
}
