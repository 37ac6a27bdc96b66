import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { decodePrivateKeyPem, encodePrivateKeyPem } from '../../src/vault/pem.ts'

test.each(['rsa', 'ed25519'] as const)('prints an %s key as Node prints it', (type) => {
  const { privateKey } =
    type === 'rsa' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync(type)
  const der = privateKey.export({ type: 'pkcs8', format: 'der' })
  const pem = encodePrivateKeyPem(der)
  expect(pem.toString()).toBe(privateKey.export({ type: 'pkcs8', format: 'pem' }))
  expect(decodePrivateKeyPem(pem)).toEqual(der)
  expect(createPrivateKey({ key: pem, format: 'pem' }).equals(privateKey)).toBe(true)
})

test('encodes every length as base64 in lines of 64', () => {
  for (let length = 0; length <= 200; length++) {
    const bytes = randomBytes(length)
    const lines = bytes.toString('base64').match(/.{1,64}/g) ?? []
    const text = encodePrivateKeyPem(bytes).toString().split('\n').slice(1, -2)
    expect(text, `${length} bytes`).toEqual(lines)
    expect(decodePrivateKeyPem(encodePrivateKeyPem(bytes))).toEqual(bytes)
  }
})

test('reads nothing out of a text that is not such a PEM', () => {
  const pem = encodePrivateKeyPem(randomBytes(100)).toString()
  const wrong = [
    '',
    pem.slice(1),
    pem.slice(0, -1),
    pem.replace('BEGIN PRIVATE', 'BEGIN RSA PRIVATE'),
    pem.replace('BEGIN PRIVATE KEY-----\n', 'BEGIN PRIVATE KEY-----\n='),
    pem.replace('BEGIN PRIVATE KEY-----\n', 'BEGIN PRIVATE KEY-----\n!!!!'),
    pem.replace('BEGIN PRIVATE KEY-----\n', 'BEGIN PRIVATE KEY-----\nA'),
    pem.replace('==', '==='),
    pem.replace('==', ''),
  ]
  expect(pem).toContain('==')
  for (const text of wrong) expect(decodePrivateKeyPem(Buffer.from(text)), text).toBeUndefined()
})
