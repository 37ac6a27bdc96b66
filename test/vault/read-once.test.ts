import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { arePair, generateEphemeralKeyPair, signEd25519 } from '../../src/vault/key-pair.ts'
import { ReadOnce } from '../../src/vault/read-once.ts'

test('attack: a key that was read before vouches for no other key', async () => {
  const [one, other] = [generateEphemeralKeyPair(), generateEphemeralKeyPair()]
  const data = randomBytes(100)
  for (let turn = 0; turn < 2; turn += 1) {
    expect(signEd25519(one.privateKey, one.publicBlob, data)).toHaveLength(83)
    expect(signEd25519(one.privateKey, other.publicBlob, data)).toBeUndefined()
    expect(signEd25519(other.privateKey, one.publicBlob, data)).toBeUndefined()
    expect(await arePair(other.privateKey, one.publicBlob)).toBe(false)
    expect(await arePair(other.privateKey, other.publicBlob)).toBe(true)
  }
  // Nor do bytes that change after they were read.
  const changed = Buffer.from(one.publicBlob)
  expect(signEd25519(one.privateKey, changed, data)).toBeDefined()
  changed.set(other.publicBlob)
  expect(signEd25519(one.privateKey, changed, data)).toBeUndefined()
  expect(signEd25519(other.privateKey, changed, data)).toBeDefined()
})

test('reads a text once, forgets the one that was used longest ago, and keeps no long one', () => {
  const read: string[] = []
  const lengths = new ReadOnce((text) => {
    read.push(text)
    return text.length
  })
  for (let count = 0; count < 500; count += 1) lengths.of(`${count}`)
  expect(lengths.of('0')).toBe(1)
  lengths.of('500')
  expect(read).toHaveLength(501)
  lengths.of('0')
  expect(read).toHaveLength(501)
  lengths.of('1')
  expect(read.at(-1)).toBe('1')
  const long = 'x'.repeat(8193)
  for (let turn = 0; turn < 2; turn += 1) expect(lengths.of(long)).toBe(8193)
  expect(read.slice(-2)).toEqual([long, long])
})
