import { randomBytes } from 'node:crypto'
import { Registry } from 'prom-client'
import { describe, expect, test } from 'vitest'
import { createAuth, type Identity } from '../../src/auth/index.ts'
import {
  type AuthAttempt,
  type CertificateFields,
  encodeRevocationList,
  encodeUserauthRequest,
  parseRevocationList,
} from '../../src/ssh/index.ts'
import {
  allKeyTypes,
  issue,
  makeKey,
  type SignOptions,
  someKey,
  type TestKey,
} from '../ssh/certificate-fixture.ts'
import { silent } from '../support/postgres.ts'
import { actor, openAuthFixture, type Place, source } from './auth-fixture.ts'

const fixture = await openAuthFixture()
const authority = makeKey()
const revoked = new Set<bigint>()

/** Logins as they are, with an authority whose key a test holds. */
const auth = createAuth({
  database: fixture.database.app,
  vault: fixture.vault,
  log: silent,
  metrics: new Registry(),
  certificates: {
    async trust() {
      const list = parseRevocationList(
        encodeRevocationList({
          version: 1n,
          date: new Date(),
          comment: '',
          authorities:
            revoked.size === 0
              ? []
              : [{ authority: authority.blob, serials: revoked, serialRanges: [], keyIds: [] }],
          keys: [],
          fingerprints: [],
        }),
      )
      if ('problem' in list) throw new Error(list.problem)
      return {
        authorities: [{ generation: 3, publicKey: authority.blob }],
        revocations: list.list,
      }
    },
    revokeOfKey: async () => {},
    isRevokedKey: async () => false,
    userOf: (principal) => (principal.startsWith('user-') ? principal.slice(5) : undefined),
  },
})

const plainAlgorithm = (type: string) => (type === 'ssh-rsa' ? 'rsa-sha2-512' : type)
function certifiedAlgorithm(type: string): string {
  const [name = '', domain = 'openssh.com'] = plainAlgorithm(type).split('@')
  return `${name}-cert-v01@${domain}`
}

/** A certificate that is good now for a user of a place. */
async function certified(
  key: TestKey,
  wish: Partial<CertificateFields> = {},
  by: TestKey = authority,
) {
  const place = await fixture.place()
  const user = await place.user('demo')
  const now = BigInt(Math.floor(Date.now() / 1000))
  const blob = issue(
    {
      publicKey: key.blob,
      kind: 'user',
      principals: [`user-${user.id}`],
      validAfter: now - 60n,
      validBefore: now + 60n,
      criticalOptions: new Map(),
      ...wish,
    },
    by,
  )
  return { place, user, blob }
}

function signedWith(
  key: TestKey,
  blob: Buffer,
  wish: { algorithm?: string; by?: TestKey; options?: SignOptions } = {},
): AuthAttempt {
  const { algorithm = certifiedAlgorithm(key.type), by = key, options } = wish
  const request = { exchangeHash: randomBytes(32), user: 'acme', algorithm, key: blob }
  const signedData = encodeUserauthRequest(request)
  return { user: 'acme', algorithm, key: blob, signature: by.sign(signedData, options), signedData }
}

const login = ({ tenant }: Place, attempt: AuthAttempt, from = source) =>
  auth.authenticateSsh({ tenant, attempt, source: from })

describe.each(allKeyTypes)('a certificate for a key of type %s', (type) => {
  const key = someKey(type)

  test('says who it is, and what it binds them to', async () => {
    const { place, user, blob } = await certified(key, { keyId: 'the id' })
    const identity = await login(place, signedWith(key, blob))
    expect(identity).toMatchObject({
      tenant: place.tenant,
      user: { id: user.id, name: 'demo' },
      certificate: { generation: 3, keyId: 'the id' },
    })
  })

  test('is nothing without a signature by its key', async () => {
    const { place, blob } = await certified(key)
    expect(await login(place, signedWith(key, blob, { by: makeKey(type) }))).toBeUndefined()
    expect(await login(place, signedWith(key, blob))).toBeDefined()
  })

  test('is not taken for a key of its own', async () => {
    const { place, blob } = await certified(key)
    const algorithm = plainAlgorithm(type)
    expect(await login(place, signedWith(key, blob, { algorithm }))).toBeUndefined()
  })
})

describe('refuses a certificate', () => {
  const key = makeKey()
  const now = BigInt(Math.floor(Date.now() / 1000))

  test.each<[string, Partial<CertificateFields>, TestKey?]>([
    ['by another authority', {}, makeKey()],
    ['that is for hosts', { kind: 'host' }],
    ['that has expired', { validAfter: now - 120n, validBefore: now - 60n }],
    ['that is not valid yet', { validAfter: now + 60n, validBefore: now + 120n }],
    ['with the principal of nobody', { principals: ['root'] }],
    ['with a user who is not of this tenant', { principals: [`user-${crypto.randomUUID()}`] }],
    ['with an unknown critical option', { criticalOptions: new Map([['no-such', 'x']]) }],
    ['from elsewhere', { criticalOptions: new Map([['source-address', '203.0.113.0/24']]) }],
    [
      'that asks a plain key to know its holder',
      { criticalOptions: new Map([['verify-required', '']]) },
    ],
  ])('%s', async (_, wish, by) => {
    const { place, blob } = await certified(key, wish, by)
    expect(await login(place, signedWith(key, blob))).toBeUndefined()
    const good = await certified(key)
    expect(await login(good.place, signedWith(key, good.blob))).toBeDefined()
  })

  test('with a second principal beside the user’s', async () => {
    const place = await fixture.place()
    const [one, two] = [await place.user('one'), await place.user('two')]
    const make = (principals: string[]) =>
      issue(
        {
          publicKey: key.blob,
          kind: 'user',
          principals,
          validAfter: now - 60n,
          validBefore: now + 60n,
          criticalOptions: new Map(),
        },
        authority,
      )
    const both = make([`user-${one.id}`, `user-${two.id}`])
    expect(await login(place, signedWith(key, both))).toBeUndefined()
    expect(await login(place, signedWith(key, make([`user-${two.id}`])))).toMatchObject({
      user: { name: 'two' },
    })
  })

  test('that was revoked', async () => {
    const { place, blob } = await certified(key, { serial: 77n })
    expect(await login(place, signedWith(key, blob))).toBeDefined()
    revoked.add(77n)
    expect(await login(place, signedWith(key, blob))).toBeUndefined()
    revoked.clear()
  })

  test('whose authority is itself a certificate of the true one (CVE-2025-49825)', async () => {
    const inner = makeKey()
    const { place, user } = await certified(inner)
    const nested = issue({ publicKey: inner.blob, principals: ['ca'], kind: 'user' }, authority)
    const forged = (signatureKey: Buffer) => {
      const good = issue(
        {
          publicKey: key.blob,
          principals: [`user-${user.id}`],
          kind: 'user',
          criticalOptions: new Map(),
        },
        inner,
      )
      const at = good.indexOf(inner.blob, key.blob.length)
      return Buffer.concat([
        good.subarray(0, at),
        signatureKey,
        good.subarray(at + inner.blob.length),
      ])
    }
    expect(await login(place, signedWith(key, forged(nested)))).toBeUndefined()
    expect(await login(place, signedWith(key, forged(authority.blob)))).toBeUndefined()
  })

  test('with a byte behind its end, or any byte of it changed', async () => {
    const { place, blob } = await certified(key)
    const longer = Buffer.concat([blob, Buffer.of(0)])
    expect(await login(place, signedWith(key, longer))).toBeUndefined()
    for (let at = 0; at < blob.length; at += 7) {
      const flipped = Buffer.from(blob)
      flipped[at] = (blob[at] ?? 0) ^ 1
      expect(await login(place, signedWith(key, flipped)), `byte ${at}`).toBeUndefined()
    }
    expect(await login(place, signedWith(key, blob))).toBeDefined()
  })

  test('puts each on the log as a failure with its own word', async () => {
    const { place, blob } = await certified(key, {}, makeKey())
    await login(place, signedWith(key, blob))
    await expect.poll(async () => (await place.events('login.failure')).length).toBe(1)
    const [event] = await place.events('login.failure')
    expect(event?.public).toMatchObject({ code: 'certificate' })
  })
})

test('a certificate’s restrictions come with the identity', async () => {
  const key = makeKey()
  const { place, blob } = await certified(key, {
    criticalOptions: new Map([
      ['force-command', 'backup'],
      ['source-address', '198.51.100.0/24'],
    ]),
    extensions: new Map([['permit-pty', '']]),
  })
  const identity: Identity | undefined = await login(place, signedWith(key, blob))
  expect(identity?.certificate).toMatchObject({ forceCommand: 'backup', permits: ['permit-pty'] })
})

const securityKeys = allKeyTypes.filter((type) => type.startsWith('sk-'))
describe.each(securityKeys)('a security key of type %s', (type) => {
  async function registered(verifyRequired = false) {
    const key = makeKey(type)
    const place = await fixture.place()
    await place.user('demo')
    const line = `${type} ${key.blob.toString('base64')}`
    await auth.addKey(place.tenant, 'demo', line, { verifyRequired }, actor)
    const tryWith = (options: SignOptions) =>
      login(place, signedWith(key, key.blob, { algorithm: type, options }))
    return { place, tryWith }
  }

  test('must be touched', async () => {
    const { tryWith } = await registered()
    expect(await tryWith({ flags: 0 })).toBeUndefined()
    expect(await tryWith({ flags: 4 })).toBeUndefined()
    expect(await tryWith({ flags: 1 })).toBeDefined()
  })

  test('must know its holder where that was asked', async () => {
    const { tryWith } = await registered(true)
    expect(await tryWith({ flags: 1 })).toBeUndefined()
    expect(await tryWith({ flags: 5 })).toBeDefined()
  })

  test('is out when it counts less than it has: somebody has a copy', async () => {
    const { place, tryWith } = await registered()
    expect(await tryWith({ counter: 100 })).toBeDefined()
    expect(await tryWith({ counter: 101 })).toBeDefined()
    expect(await tryWith({ counter: 100 })).toBeUndefined()
    // Some never count, and always say the same.
    expect(await tryWith({ counter: 101 })).toBeDefined()
    await expect.poll(async () => (await place.events('login.failure')).length).toBe(1)
    const [event] = await place.events('login.failure')
    expect(event?.public).toMatchObject({ code: 'counter' })
  })

  test('with a certificate must be touched, unless the certificate says otherwise', async () => {
    const key = makeKey(type)
    const strict = await certified(key)
    const untouched = { options: { flags: 0 } }
    expect(await login(strict.place, signedWith(key, strict.blob, untouched))).toBeUndefined()
    const lax = await certified(key, { extensions: new Map([['no-touch-required', '']]) })
    expect(await login(lax.place, signedWith(key, lax.blob, untouched))).toBeDefined()
  })

  test('with a certificate that asks for it must know its holder', async () => {
    const key = makeKey(type)
    const { place, blob } = await certified(key, {
      criticalOptions: new Map([['verify-required', '']]),
    })
    const tryWith = (flags: number) => login(place, signedWith(key, blob, { options: { flags } }))
    expect(await tryWith(1)).toBeUndefined()
    expect(await tryWith(5)).toBeDefined()
  })
})

test('only a security key can be registered as one that knows its holder', async () => {
  const place = await fixture.place()
  await place.user('demo')
  const line = `ssh-ed25519 ${makeKey().blob.toString('base64')}`
  const adding = auth.addKey(place.tenant, 'demo', line, { verifyRequired: true }, actor)
  await expect(adding).rejects.toMatchObject({ code: 'ERR_KEY_REFUSED' })
})
