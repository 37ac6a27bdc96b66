import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { keepHostKeys } from '../../src/local/index.ts'
import { formatPublicKey } from '../../src/ssh/index.ts'
import { Authority } from '../support/ssh-authority.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'hostkeys-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

test('makes an Ed25519 key that only its owner can read', async () => {
  const keys = await keepHostKeys(join(directory, 'new'))
  expect(keys.map(({ publicKey }) => publicKey.type)).toEqual(['ssh-ed25519'])
  for (const name of readdirSync(join(directory, 'new')))
    expect(statSync(join(directory, 'new', name)).mode & 0o777, name).toBe(0o600)
  expect(statSync(join(directory, 'new')).mode & 0o777).toBe(0o700)
})

test('gives the same keys at every start', async () => {
  const first = await keepHostKeys(directory)
  const again = await keepHostKeys(directory)
  expect(again.map(({ publicKey }) => publicKey)).toEqual(first.map(({ publicKey }) => publicKey))
})

test('shows the keys of other types that somebody has put there, behind its own', async () => {
  const [own] = await keepHostKeys(directory)
  const write = (name: string, key: KeyObject) =>
    writeFileSync(join(directory, name), key.export({ format: 'pem', type: 'pkcs8' }), {
      mode: 0o600,
    })
  write('ssh_host_rsa_key', generateKeyPairSync('rsa', { modulusLength: 3072 }).privateKey)
  write('ssh_host_ecdsa_key', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  const keys = await keepHostKeys(directory)
  expect(keys.map(({ publicKey }) => publicKey.type)).toEqual([
    'ssh-ed25519',
    'ssh-rsa',
    'ecdsa-sha2-nistp256',
  ])
  expect(keys[0]?.publicKey).toEqual(own?.publicKey)
})

test('refuses a key that others can read, rather than use or replace it', async () => {
  await keepHostKeys(directory)
  chmodSync(join(directory, 'ssh_host_ed25519_key'), 0o640)
  await expect(keepHostKeys(directory)).rejects.toMatchObject({ code: 'ERR_HOST_KEY_UNUSABLE' })
})

test('refuses a damaged key, rather than show clients a new one', async () => {
  await keepHostKeys(directory)
  writeFileSync(join(directory, 'ssh_host_rsa_key'), 'garbage', { mode: 0o600 })
  await expect(keepHostKeys(directory)).rejects.toMatchObject({ code: 'ERR_HOST_KEY_UNUSABLE' })
})

describe('a certificate beside a host key', () => {
  const authority = new Authority()
  afterAll(() => authority.remove())

  async function put(wish: Parameters<Authority['sign']>[1], other = false) {
    const [pair] = await keepHostKeys(directory)
    if (pair === undefined) throw new Error('no key')
    const { publicKey } = other ? authority.newKey('ed25519') : pair
    const blob = authority.sign(publicKey, { isHost: true, principals: ['bastion'], ...wish })
    const line = formatPublicKey({ type: 'ssh-ed25519-cert-v01@openssh.com', blob })
    writeFileSync(join(directory, 'ssh_host_ed25519_key-cert.pub'), `${line}\n`)
    return blob
  }

  test('comes with the key', async () => {
    const blob = await put({})
    const [pair, other] = await keepHostKeys(directory)
    expect(pair?.certificate).toEqual(blob)
    expect(other?.certificate).toBeUndefined()
  })

  test.each<[string, () => Promise<unknown>]>([
    ['is for users', () => put({ isHost: false })],
    ['is for another key', () => put({}, true)],
    ['has expired', () => put({ validity: '-2h:-1h' })],
    [
      'is none',
      async () => writeFileSync(join(directory, 'ssh_host_ed25519_key-cert.pub'), 'garbage'),
    ],
  ])('stops the start when it %s', async (_, bend) => {
    await bend()
    await expect(keepHostKeys(directory)).rejects.toMatchObject({ code: 'ERR_HOST_KEY_UNUSABLE' })
  })
})
