import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { afterAll, describe, expect, test } from 'vitest'
import { verifyHostProof } from '../../src/ssh/index.ts'
import { publicKeyBlob } from '../../src/ssh/public-key.ts'
import { Writer } from '../../src/ssh/wire.ts'
import { Authority, publicKeyOf } from '../support/ssh-authority.ts'

const exchangeHash = randomBytes(32)
const authority = new Authority()
afterAll(() => authority.remove())

function blob(name: string, bare: Buffer): Buffer {
  return new Writer().text(name).string(bare).build()
}

const ed25519 = generateKeyPairSync('ed25519').privateKey
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
const byEd25519 = (data: Buffer, key: KeyObject = ed25519) =>
  blob('ssh-ed25519', sign(null, data, key))

describe('takes what a host signed', () => {
  test('with its key', () => {
    const hostKey = publicKeyBlob(ed25519)
    expect(verifyHostProof({ hostKey, signature: byEd25519(exchangeHash) }, exchangeHash)).toBe(
      true,
    )
  })

  test.each(['rsa-sha2-256', 'rsa-sha2-512'])('with an RSA key, by %s', (name) => {
    const signature = blob(name, sign(name.replace('rsa-sha2-', 'sha'), exchangeHash, rsa))
    expect(verifyHostProof({ hostKey: publicKeyBlob(rsa), signature }, exchangeHash)).toBe(true)
  })

  test('with a key that it shows a certificate for', () => {
    const hostKey = authority.sign(publicKeyOf(ed25519), { isHost: true })
    expect(verifyHostProof({ hostKey, signature: byEd25519(exchangeHash) }, exchangeHash)).toBe(
      true,
    )
  })
})

describe('does not take', () => {
  const hostKey = publicKeyBlob(ed25519)
  test.each<[string, Buffer, Buffer]>([
    ['another exchange', hostKey, byEd25519(randomBytes(32))],
    ['another key', hostKey, byEd25519(exchangeHash, generateKeyPairSync('ed25519').privateKey)],
    ['nothing', hostKey, Buffer.alloc(0)],
    ['half a signature', hostKey, byEd25519(exchangeHash).subarray(0, 40)],
    ['a byte more', hostKey, Buffer.concat([byEd25519(exchangeHash), Buffer.of(0)])],
    ['a key that is none', Buffer.alloc(51, 1), byEd25519(exchangeHash)],
    ['no key', Buffer.alloc(0), byEd25519(exchangeHash)],
    ['SHA-1', publicKeyBlob(rsa), blob('ssh-rsa', sign('sha1', exchangeHash, rsa))],
  ])('%s', (_what, key, signature) => {
    expect(verifyHostProof({ hostKey: key, signature }, exchangeHash)).toBe(false)
  })
})
