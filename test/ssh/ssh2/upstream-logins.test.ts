import { generateKeyPairSync } from 'node:crypto'
import { duplexPair } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { type UpstreamOptions, Writer } from '../../../src/ssh/index.ts'
import { Reader } from '../../../src/ssh/wire.ts'
import { msg } from '../../support/ssh-attacker.ts'
import { Authority, publicKeyOf } from '../../support/ssh-authority.ts'
import { Impostor } from '../../support/ssh-impostor.ts'
import { channelMsg } from '../../support/ssh-lab.ts'
import { connectOn, signingKey } from '../../support/ssh-pair.ts'

/** What it takes to log in to a target: no message more than that. */
const hostKey = generateKeyPairSync('ed25519').privateKey
const authority = new Authority()
afterAll(() => authority.remove())

const ignore = 2

function dial(options: Partial<UpstreamOptions> = {}) {
  const [wire, theirs] = duplexPair()
  const connected = connectOn(wire, options)
  connected.catch(() => {})
  return { impostor: new Impostor(theirs, hostKey), connected }
}

/** The first that is asked for, once the target does logins. */
async function firstRequest({ impostor }: ReturnType<typeof dial>) {
  const reader = new Reader((await impostor.loginRequest()) ?? expect.fail('the client left'))
  reader.u8()
  for (let i = 0; i < 3; i++) reader.string() // user, service, method
  return { isSigned: reader.boolean(), algorithm: reader.string(), key: reader.string() }
}

describe('the first request', () => {
  const ed25519 = generateKeyPairSync('ed25519').privateKey
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey

  test('is signed for a certificate that was made for it', async () => {
    const key = signingKey(ed25519, authority.sign(publicKeyOf(ed25519)))
    expect((await firstRequest(dial({ key }))).isSigned).toBe(true)
  })

  test('asks whether the target takes a key whose signature is worth something', async () => {
    for (const key of [signingKey(ed25519), signingKey(rsa, authority.sign(publicKeyOf(rsa)))]) {
      expect((await firstRequest(dial({ key }))).isSigned).toBe(false)
    }
  })

  test('is signed once, whatever a target says to it', async () => {
    const inner = signingKey(ed25519, authority.sign(publicKeyOf(ed25519)))
    let signatures = 0
    const key = {
      ...inner,
      sign: (...args: Parameters<typeof inner.sign>) => {
        signatures++
        return inner.sign(...args)
      },
    }
    const target = dial({ key })
    const { algorithm, key: shown } = await firstRequest(target)
    for (let i = 0; i < 3; i++) {
      target.impostor.send(
        new Writer().u8(msg.authMethod60).string(algorithm).string(shown).build(),
      )
    }
    await expect(target.connected).rejects.toMatchObject({ code: 'ERR_UPSTREAM_CLOSED' })
    expect(signatures).toBe(1)
  })
})

test('an announcement of host keys is heard of at once, and once', async () => {
  const { impostor, connected } = dial()
  await impostor.loginRequest()
  impostor.send(Buffer.of(msg.authSuccess))
  const connection = await connected
  const announcement = new Writer()
    .u8(msg.globalRequest)
    .text('hostkeys-00@openssh.com')
    .boolean(false)
    .build()
  for (let i = 0; i < 100; i++) impostor.send(announcement)
  // Nothing else is to be said, and nobody has asked for anything.
  expect(await impostor.next()).toEqual(Buffer.from([ignore, 0, 0, 0, 0]))
  void connection.openChannel('session', Buffer.alloc(0)).catch(() => {})
  expect((await impostor.next())?.[0]).toBe(channelMsg.open)
  connection.destroy()
})
