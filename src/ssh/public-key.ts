import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { keep } from '../bytes.ts'
import {
  findKeyType,
  findKeyTypeOf,
  type KeyFields,
  type KeyType,
  refuseKeyType,
} from './key-types.ts'
import { Reader, WireError, Writer } from './wire.ts'

/** A public key that passed every check. Two are the same key when their blobs are the same bytes. */
export interface PublicKey {
  readonly type: string
  readonly blob: Buffer
  readonly bits: number
  /** `SHA256:` and unpadded base64, as OpenSSH prints it. */
  readonly fingerprint: string
  /** The text after the key, without unprintable characters. */
  readonly comment: string
}

export type ParsedPublicKey = { readonly key: PublicKey } | { readonly problem: string }

/** With room for a key of 16384 bits and a long comment. */
const lineLengthMax = 8192
const commentLengthMax = 200

/**
 * Parses one line as in a `.pub` file: type, base64, comment. A refusal has a reason for the person
 * who gave the line. Only for text that a person gave: keys from the network are blobs.
 */
export function parsePublicKey(line: string): ParsedPublicKey {
  if (line.length > lineLengthMax) return { problem: 'this is too long for a public key' }
  const text = line.trim()
  const problem = refuseText(text)
  if (problem !== undefined) return { problem }
  const [, name = '', base64 = '', comment = ''] =
    /^(\S+)[ \t]+(\S+)(?:[ \t]+(.*))?$/.exec(text) ?? []
  if (findKeyType(name) === undefined) return { problem: refuseFirstWord(text) }
  const blob = Buffer.from(base64, 'base64')
  // Node skips characters that are not base64. A second spelling of a key, or half of one, is
  // refused.
  if (blob.toString('base64') !== base64) return { problem: 'the base64 of this key is damaged' }
  const parsed = parsePublicKeyBlob(blob)
  if ('problem' in parsed) return parsed
  if (parsed.key.type !== name) {
    return { problem: `the line says ${name}, but its key has another type` }
  }
  return { key: { ...parsed.key, comment: printable(comment) } }
}

/** Parses a key as it is on the wire: RFC 4253 section 6.6. Takes bytes from strangers. */
export function parsePublicKeyBlob(blob: Buffer): ParsedPublicKey {
  const decoded = decodePublicKey(blob)
  if ('problem' in decoded) return decoded
  const { type, fields } = decoded
  const own = keep(blob)
  return {
    key: {
      type: type.name,
      blob: own,
      bits: fields.bits,
      fingerprint: fingerprint(own),
      comment: '',
    },
  }
}

/** A key of node:crypto as it is on the wire; of a private key, its public part. */
export function publicKeyBlob(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  const type = findKeyTypeOf(publicKey)
  if (type === undefined) throw new TypeError('this type of key is not for SSH')
  return encode(type, { key: publicKey })
}

/** One line, as in `authorized_keys` and `.pub` files, without a line end. */
export function formatPublicKey(
  key: { readonly type: string; readonly blob: Buffer },
  comment = '',
): string {
  return [key.type, key.blob.toString('base64'), printable(comment)].filter(Boolean).join(' ')
}

/** `SHA256:…` of a key or certificate blob. */
export function fingerprint(blob: Buffer): string {
  return `SHA256:${createHash('sha256').update(blob).digest('base64').replace(/=+$/, '')}`
}

/** The key in a blob, ready to verify with. Never throws, whatever the blob's contents. */
export function decodePublicKey(
  blob: Buffer,
): { readonly type: KeyType; readonly fields: KeyFields } | { readonly problem: string } {
  try {
    const reader = new Reader(blob)
    const name = reader.text()
    const type = findKeyType(name)
    if (type === undefined) return { problem: refuseKeyType(name) }
    const fields = type.read(reader)
    if ('problem' in fields) return fields
    reader.end()
    // A key is known by its bytes, so it has one spelling: extra ones would be other names for it.
    if (!encode(type, fields).equals(blob))
      return { problem: 'this key is not in its canonical form' }
    return { type, fields }
  } catch (err) {
    if (err instanceof WireError) return { problem: `this key is damaged: ${err.message}` }
    throw err
  }
}

function encode(type: KeyType, fields: Omit<KeyFields, 'bits'>): Buffer {
  return type.write(new Writer().text(type.name), fields).build()
}

function refuseText(text: string): string | undefined {
  if (text === '') return 'there is no key in this text'
  if (/PRIVATE KEY-----|^PuTTY-User-Key-File-/m.test(text)) {
    return 'this is a PRIVATE key: keep it to yourself, and give its .pub file'
  }
  if (text.startsWith('---- BEGIN SSH2 PUBLIC KEY')) {
    return 'this is the SSH2 form; convert it with: ssh-keygen -i -f FILE'
  }
  if (text.startsWith('-----BEGIN')) {
    return 'this is PEM; give one line that starts with the type of the key, as in a .pub file'
  }
  if (/[\r\n]/.test(text)) return 'this is more than one line; give one key at a time'
  return undefined
}

function refuseFirstWord(text: string): string {
  const [first = '', ...rest] = text.split(/[ \t]+/)
  if (/^ssh-|^ecdsa-|^sk-|-cert-v\d\d@/.test(first)) return refuseKeyType(first)
  if (rest.some((word) => findKeyType(word) !== undefined) || /[=",]/.test(first)) {
    return 'options before a key are refused; the line must start with the type of the key'
  }
  return 'this is not a public key; give a line of a .pub file, such as: ssh-ed25519 AAAA… name'
}

/** Without control, format and private-use characters: a comment ends up on terminals. */
function printable(text: string): string {
  return [...text.replace(/\p{C}/gu, '')].slice(0, commentLengthMax).join('').trim()
}
