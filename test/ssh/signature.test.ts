import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  parsePublicKey,
  verifySecurityKeySignature,
  verifyUserSignature,
} from '../../src/ssh/index.ts'
import vectors from '../vectors/ssh-keys.json' with { type: 'json' }
import { allKeyTypes, makeKey, type SignOptions } from './certificate-fixture.ts'

const securityKeyTypes = allKeyTypes.filter((type) => type.startsWith('sk-'))
const plainTypes = allKeyTypes.filter((type) => !type.startsWith('sk-'))
const data = Buffer.from('what is signed')
const algorithmOf = (type: string) => (type === 'ssh-rsa' ? 'rsa-sha2-512' : type)

describe('signatures by the software security key of OpenSSH', () => {
  const keys = vectors.keys.filter(({ name }) => name.startsWith('sk-'))

  test.each(keys)('$name says how it was made', ({ name, line, signature }) => {
    const key = parsePublicKey(line)
    if ('problem' in key) throw new Error(key.problem)
    const given = {
      key: key.key.blob,
      algorithm: key.key.type,
      signature: Buffer.from(signature, 'hex'),
      data: Buffer.from(vectors.data, 'hex'),
    }
    const userPresent = !name.endsWith('-untouched')
    const userVerified = name.endsWith('-verified')
    expect(verifySecurityKeySignature(given)).toEqual({
      userPresent,
      userVerified,
      counter: 0x12345678,
    })
    expect(verifyUserSignature(given)).toBe(userPresent)
    expect(verifySecurityKeySignature({ ...given, data })).toBeUndefined()
  })
})

describe.each(securityKeyTypes)('%s', (type) => {
  const key = makeKey(type)
  const verify = (options: SignOptions = {}, wish: { data?: Buffer; algorithm?: string } = {}) =>
    verifySecurityKeySignature({
      key: key.blob,
      algorithm: type,
      signature: key.sign(data, options),
      data,
      ...wish,
    })

  test.each([0, 1, 4, 5, 0x1d, 255])('states the flags %i', (flags) => {
    expect(verify({ flags })).toEqual({
      userPresent: (flags & 1) !== 0,
      userVerified: (flags & 4) !== 0,
      counter: 7,
    })
  })

  test.each([0, 1, 2 ** 31, 2 ** 32 - 1])('states the counter %i', (counter) => {
    expect(verify({ counter })).toHaveProperty('counter', counter)
  })

  test('signs for its own application and no other', () => {
    expect(verify({ application: 'ssh:' })).toBeDefined()
    expect(verify({ application: 'ssh:other' })).toBeUndefined()
    expect(verify({ application: 'https://example.com' })).toBeUndefined()
  })

  test('says nothing about other data, by another algorithm, or for another key', () => {
    expect(verify()).toBeDefined()
    expect(verify({}, { data: Buffer.from('else') })).toBeUndefined()
    expect(verify({}, { algorithm: 'ssh-ed25519' })).toBeUndefined()
    expect(verify({ algorithm: 'ssh-ed25519' })).toBeUndefined()
    const signature = makeKey(type).sign(data)
    const given = { key: key.blob, algorithm: type, signature, data }
    expect(verifySecurityKeySignature(given)).toBeUndefined()
  })

  test('says nothing when any byte is flipped, missing or added', () => {
    const signature = key.sign(data)
    const given = (signature: Buffer) => ({ key: key.blob, algorithm: type, signature, data })
    for (let at = 0; at < signature.length; at++) {
      const flipped = Buffer.from(signature)
      flipped[at] = (signature[at] ?? 0) ^ 1
      // Of the last five, the flags and the counter, every bit is signed for too.
      expect(verifySecurityKeySignature(given(flipped)), `byte ${at}`).toBeUndefined()
      expect(verifySecurityKeySignature(given(signature.subarray(0, at)))).toBeUndefined()
    }
    const longer = Buffer.concat([signature, Buffer.of(0)])
    expect(verifySecurityKeySignature(given(longer))).toBeUndefined()
    expect(verifySecurityKeySignature(given(signature))).toBeDefined()
  })

  test('lets nobody in who did not touch it', () => {
    const given = (flags: number) => ({
      key: key.blob,
      algorithm: type,
      signature: key.sign(data, { flags }),
      data,
    })
    expect([1, 5, 0, 4].map((flags) => verifyUserSignature(given(flags)))).toEqual([
      true,
      true,
      false,
      false,
    ])
  })
})

test.each(plainTypes)('%s is no security key, though its signatures are good', (type) => {
  const key = makeKey(type)
  const given = { key: key.blob, algorithm: algorithmOf(type), signature: key.sign(data), data }
  expect(verifyUserSignature(given)).toBe(true)
  expect(verifySecurityKeySignature(given)).toBeUndefined()
})

test('never throws, whatever is sent', () => {
  const keys = allKeyTypes.map((type) => makeKey(type))
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array))
  const change = fc.tuple(fc.nat({ max: 80 }), fc.uint8Array({ maxLength: 4 }))
  fc.assert(
    fc.property(fc.constantFrom(...keys), change, bytes, (key, [at, patch], noise) => {
      const algorithm = algorithmOf(key.type)
      const signature = key.sign(data)
      if (at + patch.length <= signature.length) signature.set(patch, at)
      for (const each of [signature, noise]) {
        const given = { key: key.blob, algorithm, signature: each, data: noise }
        expect(verifySecurityKeySignature(given)).toBeUndefined()
        expect(verifyUserSignature(given)).toBe(false)
      }
      expect(verifyUserSignature({ key: noise, algorithm, signature, data })).toBe(false)
    }),
    { numRuns: 200 },
  )
})
