/** Signed notes with Ed25519 keys, as in C2SP signed-note. */

import { createPublicKey, hash, verify } from 'node:crypto'
import { NoteInvalid } from './errors.ts'

/** A public key under the name it signs as. */
export interface VerifierKey {
  readonly name: string
  readonly keyId: Buffer
  /** 32 bytes, Ed25519. */
  readonly publicKey: Buffer
}

export interface NoteSignature {
  readonly name: string
  readonly keyId: Buffer
  readonly signature: Buffer
}

export interface Note {
  /** The signed text, the final newline included. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

const ed25519 = 0x01
const signaturesMax = 16
const noteBytesMax = 16_384

/** `name+hex key id+base64 key`: the printed form of a verifier key. */
export function formatVerifierKey({ name, keyId, publicKey }: VerifierKey): string {
  return `${name}+${keyId.toString('hex')}+${typed(publicKey).toString('base64')}`
}

export function parseVerifierKey(text: string): VerifierKey {
  // Base64 has a plus of its own: only the first two divide.
  const parts = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/s.exec(text)
  const [, name = '', id = '', encoded = ''] = parts ?? []
  const key = decodeBase64(encoded)
  if (!isKeyName(name) || key?.length !== 33 || key[0] !== ed25519) {
    throw new NoteInvalid('the verifier key is not one of an Ed25519 key')
  }
  const made = verifierKey(name, key.subarray(1))
  if (made.keyId.toString('hex') !== id) throw new NoteInvalid('the key id is of another key')
  return made
}

/** Names a public key. The same key under another name has another id. */
export function verifierKey(name: string, publicKey: Buffer): VerifierKey {
  if (!isKeyName(name) || publicKey.length !== 32) throw new NoteInvalid('not a name and a key')
  const digest = hash(
    'sha256',
    Buffer.concat([Buffer.from(`${name}\n`), typed(publicKey)]),
    'buffer',
  )
  return { name, keyId: digest.subarray(0, 4), publicKey }
}

export function formatNote({ text, signatures }: Note): string {
  const lines = signatures.map(
    ({ name, keyId, signature }) =>
      `— ${name} ${Buffer.concat([keyId, signature]).toString('base64')}\n`,
  )
  return `${text}\n${lines.join('')}`
}

/** Splits a note and its signatures. Does not verify them. */
export function parseNote(note: string): Note {
  if (Buffer.byteLength(note) > noteBytesMax) throw new NoteInvalid('it is too long')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the format forbids exactly these
  if (/[\x00-\x09\x0b-\x1f\x7f]/.test(note) || !note.isWellFormed()) {
    throw new NoteInvalid('it holds a control character')
  }
  // The text may have empty lines: the last one ends it.
  const split = note.lastIndexOf('\n\n')
  if (split < 0) throw new NoteInvalid('it has no signatures')
  const text = note.slice(0, split + 1)
  const lines = note.slice(split + 2)
  if (!lines.endsWith('\n')) throw new NoteInvalid('its last line has no end')
  const signatures = lines.slice(0, -1).split('\n').map(parseSignature)
  if (signatures.length > signaturesMax) throw new NoteInvalid('it has too many signatures')
  return { text, signatures }
}

/**
 * The known keys that signed the note. Signatures of unknown keys are passed over; one of a known
 * key that does not verify condemns the whole note.
 */
export function verifyNote(note: Note, known: readonly VerifierKey[]): VerifierKey[] {
  const verified: VerifierKey[] = []
  for (const { name, keyId, signature } of note.signatures) {
    const key = known.find((one) => one.name === name && one.keyId.equals(keyId))
    if (key === undefined) continue
    if (verified.includes(key)) throw new NoteInvalid('one key signed twice')
    if (!verifySignature(key.publicKey, note.text, signature)) {
      throw new NoteInvalid(`the signature of ${name} does not verify`)
    }
    verified.push(key)
  }
  return verified
}

export function verifySignature(publicKey: Buffer, text: string, signature: Buffer): boolean {
  if (signature.length !== 64) return false
  const key = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: publicKey.toString('base64url') },
    format: 'jwk',
  })
  return verify(null, Buffer.from(text), key, signature)
}

function parseSignature(line: string): NoteSignature {
  const [, name = '', encoded = ''] = /^— (\S+) (\S+)$/.exec(line) ?? []
  const bytes = decodeBase64(encoded)
  if (!isKeyName(name) || bytes === undefined || bytes.length < 5) {
    throw new NoteInvalid('a line after its text is not a signature')
  }
  return { name, keyId: bytes.subarray(0, 4), signature: bytes.subarray(4) }
}

function typed(publicKey: Buffer): Buffer {
  return Buffer.concat([Buffer.of(ed25519), publicKey])
}

function isKeyName(name: string): boolean {
  return name !== '' && !/[\s+]/u.test(name)
}

/** Standard base64 in its one right form; undefined for any other. */
export function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
