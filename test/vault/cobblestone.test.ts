import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import {
  decrypt,
  encrypt,
  hkdfExpand,
  hmac,
  plaintextBytesMax,
} from '../../src/vault/cobblestone.ts'
import { encodeFields } from '../../src/vault/envelope.ts'
import published from '../vectors/bve1-published.json' with { type: 'json' }

const context = Buffer.from('context')

test('seals the published vector, byte for byte, and opens it', () => {
  const key = Buffer.from(published.key, 'hex')
  const fields = encodeFields(published.context.map(([name = '', value = '']) => [name, value]))
  const sealed = encrypt(key, fields, Buffer.from(published.plaintext), hex(published.salt))
  expect(sealed.toString('hex')).toBe(published.sealed)
  expect(decrypt(key, fields, hex(published.sealed))?.toString()).toBe(published.plaintext)
})

test.each([1, 64, 65, 76, 200])('expands keys to %i bytes as the whole HKDF does', (length) => {
  const [input, salt, info] = [Buffer.from('input key'), Buffer.from('salt'), Buffer.from('info')]
  const extracted = createHmac('sha512', salt).update(input).digest()
  const whole = Buffer.from(hkdfSync('sha512', input, salt, info, length))
  expect(hkdfExpand(extracted, info, length)).toEqual(whole)
})

// RFC 4231, test cases 1 to 3.
test.each([
  [
    '0b'.repeat(20),
    '4869205468657265',
    '87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde' +
      'daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854',
  ],
  [
    '4a656665',
    '7768617420646f2079612077616e7420666f72206e6f7468696e673f',
    '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554' +
      '9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
  ],
  [
    'aa'.repeat(20),
    'dd'.repeat(50),
    'fa73b0089d56a284efb0f0756c890be9b1b5dbdd8ee81a3655f83e33b2279d39' +
      'bf3e848279a722c806b485a47e67c807b946a337bee8942674278859e13292fb',
  ],
])('authenticates with the key %s as the published vectors do', (key, message, mac) => {
  expect(hmac(hex(key), [hex(message)]).toString('hex')).toBe(mac)
})

test('authenticates as Node does, with keys up to a block and messages in pieces', () => {
  for (let length = 0; length <= 128; length++) {
    const [key, message] = [randomBytes(length), randomBytes(3 * length)]
    const pieces = [message.subarray(0, length), message.subarray(length)]
    expect(hmac(key, pieces)).toEqual(createHmac('sha512', key).update(message).digest())
  }
  expect(() => hmac(Buffer.alloc(129), [])).toThrow('longer than a block')
})

const sizes = [0, 1, 16_383, 16_384, 16_385, 32_768, 49_152, plaintextBytesMax]

test.each(sizes)('opens what it sealed, %i bytes', (size) => {
  const [key, plaintext] = [randomBytes(32), randomBytes(size)]
  const sealed = encrypt(key, context, plaintext)
  expect(sealed.length).toBe(24 + 32 + size + 16 * (Math.floor(size / 16_384) + 1))
  expect(decrypt(key, context, sealed)?.equals(plaintext)).toBe(true)
})

test('refuses to seal more than it would open', () => {
  expect(() => encrypt(randomBytes(32), context, Buffer.alloc(plaintextBytesMax + 1))).toThrow()
})

test('refuses every cut, every added byte and every swap of chunks', () => {
  const [key, plaintext] = [randomBytes(32), randomBytes(49_152)]
  const sealed = encrypt(key, context, plaintext)
  const chunk = 16_384 + 16
  for (const length of [0, 1, 24, 56, 71, 56 + chunk, 56 + 2 * chunk, 56 + 3 * chunk]) {
    expect(decrypt(key, context, sealed.subarray(0, length)), `cut to ${length}`).toBeUndefined()
  }
  expect(decrypt(key, context, sealed.subarray(0, -1))).toBeUndefined()
  expect(decrypt(key, context, Buffer.concat([sealed, Buffer.of(0)]))).toBeUndefined()
  const [head, first, second] = [0, 56, 56 + chunk].map((at, index) =>
    sealed.subarray(at, index === 0 ? 56 : at + chunk),
  )
  const swapped = [head, second, first, sealed.subarray(56 + 2 * chunk)] as Buffer[]
  expect(decrypt(key, context, Buffer.concat(swapped))).toBeUndefined()
})

test('opens under one key only, where AES-GCM alone opens under two', () => {
  const [alice, bob] = [Buffer.alloc(32, 0xa1), Buffer.alloc(32, 0xb0)]
  const salt = Buffer.alloc(24, 7)
  const [first, second] = [derive(alice, salt), derive(bob, salt)]
  const body = bodyForTwoKeys(first, second)
  const sealed = Buffer.concat([salt, first.commitment, body])

  // The control: with the commitment left out, the same bytes open for both, to different texts.
  const [forAlice, forBob] = [openUncommitted(first, body), openUncommitted(second, body)]
  expect(forAlice.length).toBe(48)
  expect(forAlice).not.toEqual(forBob)

  expect(decrypt(alice, context, sealed)).toEqual(forAlice)
  expect(decrypt(bob, context, sealed)).toBeUndefined()
  const other = Buffer.concat([salt, second.commitment, body])
  expect(decrypt(alice, context, other)).toBeUndefined()
  expect(decrypt(bob, context, other)).toEqual(forBob)
})

interface Derived {
  readonly key: Buffer
  readonly nonce: Buffer
  readonly commitment: Buffer
}

function derive(key: Buffer, salt: Buffer): Derived {
  const prefix = Buffer.from('c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0')
  const bytes = hkdfExpand(key, Buffer.concat([prefix, salt, context]), 76)
  return {
    key: bytes.subarray(0, 32),
    nonce: bytes.subarray(32, 44),
    commitment: bytes.subarray(44),
  }
}

function openUncommitted({ key, nonce }: Derived, body: Buffer): Buffer {
  const cipher = createDecipheriv('aes-256-gcm', key, nonce)
  cipher.setAuthTag(body.subarray(-16))
  return Buffer.concat([cipher.update(body.subarray(0, -16)), cipher.final()])
}

/**
 * Three ciphertext blocks and a tag that AES-GCM accepts under both keys.
 *
 * The tag is linear in each ciphertext block, so with the blocks 1 and 2 chosen freely, block 3
 * solves tag(first) = tag(second): x3 (H1^2 + H2^2) = the rest of both sides.
 */
function bodyForTwoKeys(first: Derived, second: Derived): Buffer {
  const blocks = [Buffer.alloc(16, 0x11), Buffer.alloc(16, 0x22)].map(toField)
  const length = toField(Buffer.from('00000000000000000000000000000180', 'hex'))
  const rest = ({ key, nonce }: Derived) => {
    const h = toField(encryptBlock(key, Buffer.alloc(16)))
    const mask = toField(encryptBlock(key, Buffer.concat([nonce, Buffer.of(0, 0, 0, 1)])))
    const [one = 0n, two = 0n] = blocks
    const sum = multiply(one, power(h, 4)) ^ multiply(two, power(h, 3)) ^ multiply(length, h)
    return { sum: sum ^ mask, square: power(h, 2) }
  }
  const [left, right] = [rest(first), rest(second)]
  const three = multiply(left.sum ^ right.sum, inverse(left.square ^ right.square))
  const tag = left.sum ^ multiply(three, left.square)
  return Buffer.concat([...blocks, three, tag].map(toBlock))
}

function encryptBlock(key: Buffer, block: Buffer): Buffer {
  return createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(block)
}

// GF(2^128) as GCM has it: NIST SP 800-38D section 6.3, the first bit is the lowest power.
const toField = (block: Buffer) => BigInt(`0x${block.toString('hex')}`)
const toBlock = (value: bigint) => Buffer.from(value.toString(16).padStart(32, '0'), 'hex')

function multiply(x: bigint, y: bigint): bigint {
  let [product, v] = [0n, y]
  for (let bit = 127n; bit >= 0n; bit--) {
    if ((x >> bit) & 1n) product ^= v
    v = v & 1n ? (v >> 1n) ^ (0xe1n << 120n) : v >> 1n
  }
  return product
}

function power(x: bigint, exponent: number): bigint {
  return exponent === 1 ? x : multiply(x, power(x, exponent - 1))
}

/** x^(2^128 - 2), by Fermat. */
function inverse(x: bigint): bigint {
  let [result, square] = [1n << 127n, x]
  for (let bit = 1; bit < 128; bit++) {
    square = multiply(square, square)
    result = multiply(result, square)
  }
  return result
}

function hex(text: string): Buffer {
  return Buffer.from(text, 'hex')
}
