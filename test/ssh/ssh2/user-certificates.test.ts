import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { SigningKey } from '../../../src/ssh/index.ts'
import { Reader } from '../../../src/ssh/wire.ts'
import { Authority, type CertificateFields, publicKeyOf } from '../../support/ssh-authority.ts'
import { connectOn, signingKey } from '../../support/ssh-pair.ts'
import { Sshd } from '../../support/sshd.ts'

const authority = new Authority()
const stranger = new Authority()
let sshd: Sshd

beforeAll(async () => {
  const file = join(authority.directory, 'trusted')
  writeFileSync(file, `${authority.line}\n`)
  sshd = await Sshd.start([`TrustedUserCAKeys ${file}`])
})
afterAll(async () => {
  await sshd.close()
  for (const one of [authority, stranger]) one.remove()
})

const keys: readonly [name: string, key: KeyObject][] = [
  ['ed25519', generateKeyPairSync('ed25519').privateKey],
  ...['P-256', 'P-384', 'P-521'].map((namedCurve): [string, KeyObject] => [
    namedCurve,
    generateKeyPairSync('ec', { namedCurve }).privateKey,
  ]),
  ['rsa', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
]

/** A key with a certificate that lets in whoever runs the tests, unless wished otherwise. */
function certified(key: KeyObject, wish: CertificateFields = {}, by = authority): SigningKey {
  const certificate = by.sign(publicKeyOf(key), { principals: [sshd.login], ...wish })
  return signingKey(key, certificate)
}

/** Undefined when the target lets us in, or else the code of the error. */
async function login(key: SigningKey): Promise<string | undefined> {
  const socket = connect(sshd.port, sshd.host)
  await once(socket, 'connect')
  try {
    const connection = await connectOn(socket, { user: sshd.login, key })
    connection.destroy()
    return undefined
  } catch (err) {
    return err instanceof Error && 'code' in err ? String(err.code) : String(err)
  }
}

describe.each(keys)('with a key of type %s', (_, key) => {
  test('logs in to a target that knows nobody but the authority', async () => {
    expect(await login(certified(key))).toBeUndefined()
  })

  test('is not let in without the certificate (control)', async () => {
    expect(await login(signingKey(key))).toBe('ERR_UPSTREAM_AUTH')
  })

  test('asks its signer for the algorithm of the key, over data that name the certificate', async () => {
    const asked: { algorithm: string; inData: string; blob: string }[] = []
    const inner = certified(key)
    await login({
      ...inner,
      sign(data, algorithm, proof) {
        const reader = new Reader(data)
        reader.string() // session id
        reader.u8()
        for (let i = 0; i < 3; i++) reader.string() // user, service, method
        reader.boolean()
        asked.push({ algorithm, inData: reader.text(), blob: reader.string().toString('hex') })
        reader.end()
        return inner.sign(data, algorithm, proof)
      },
    })
    const { type } = publicKeyOf(key)
    const algorithm = type === 'ssh-rsa' ? 'rsa-sha2-256' : type
    expect(asked).toEqual([
      {
        algorithm,
        inData: `${algorithm}-cert-v01@openssh.com`,
        blob: inner.certificate?.toString('hex'),
      },
    ])
  })
})

describe('is not let in (controls: what the target looks at is really the certificate)', () => {
  const [[, key] = expect.fail('no key')] = keys

  test.each<[string, () => SigningKey]>([
    ['by another authority', () => certified(key, {}, stranger)],
    ['under another name', () => certified(key, { principals: ['somebody-else'] })],
    ['too late', () => certified(key, { validity: '-2h:-1h' })],
    ['with a certificate for hosts', () => certified(key, { isHost: true })],
    ['with a signature by another key', () => ({ ...certified(key), sign: signingKey().sign })],
  ])('%s', async (_, make) => {
    expect(await login(make())).toBe('ERR_UPSTREAM_AUTH')
  })
})

test('shows no certificate that is for another key, or that is none', async () => {
  const [[, key] = expect.fail('no key'), [, other] = expect.fail('no key')] = keys
  const certificate = authority.sign(publicKeyOf(key))
  const same = generateKeyPairSync('ed25519').privateKey
  for (const wrong of [
    signingKey(same, certificate),
    signingKey(other, certificate),
    signingKey(key, publicKeyOf(key).blob),
    signingKey(key, certificate.subarray(0, 90)),
    signingKey(key, Buffer.alloc(0)),
  ]) {
    const socket = connect(sshd.port, sshd.host)
    expect(() => connectOn(socket, { key: wrong })).toThrow('not for this key')
    socket.destroy()
  }
})

test('signs nothing for a target that takes RSA with SHA-1 only', async () => {
  const old = await Sshd.start(['PubkeyAcceptedAlgorithms ssh-rsa'])
  try {
    const [, key] = keys.at(-1) ?? expect.fail('no key')
    const asked: string[] = []
    const inner = signingKey(key)
    const socket = connect(old.port, old.host)
    await once(socket, 'connect')
    const rejected = connectOn(socket, {
      user: old.login,
      key: {
        ...inner,
        sign(data, algorithm, proof) {
          asked.push(algorithm)
          return inner.sign(data, algorithm, proof)
        },
      },
    })
    await expect(rejected).rejects.toMatchObject({ code: 'ERR_UPSTREAM_AUTH' })
    expect(asked).toEqual([])
  } finally {
    await old.close()
  }
})
