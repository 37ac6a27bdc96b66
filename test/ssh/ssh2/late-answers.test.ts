import { generateKeyPairSync } from 'node:crypto'
import { duplexPair } from 'node:stream'
import { describe, expect, test } from 'vitest'
import {
  type Channel,
  type ChannelOpen,
  createSshServer,
  type GlobalRequest,
  generateHostKey,
  openFailure,
  type ServerHandlers,
  Writer,
} from '../../../src/ssh/index.ts'
import { Attacker, msg } from '../../support/ssh-attacker.ts'
import { Impostor } from '../../support/ssh-impostor.ts'
import {
  channelMsg,
  channelRequest,
  forChannel,
  openChannel,
  openChannelLab,
  signedLogin,
} from '../../support/ssh-lab.ts'
import { connectOn, signingKey, silent } from '../../support/ssh-pair.ts'

// An answer may be given twice, late, or behind the end: by a peer that crosses us, or by a fault of
// ours. It must neither leave nor throw: an exception in a callback ends the process, and with it the
// sessions of everybody.

const prohibited = openFailure.administrativelyProhibited
const requestSuccess = 81
const requestFailure = 82

type Lab = Awaited<ReturnType<typeof openChannelLab>>

const countOf = ({ attacker }: Lab, type: number) =>
  attacker.received.filter(([number]) => number === type).length

/** A message that is answered in order: what was sent before has come once this has. */
async function settle({ attacker }: Lab): Promise<void> {
  const seen = attacker.received.length
  attacker.send(new Writer().u8(msg.globalRequest).text('marker@example.com').boolean(true).build())
  await attacker.first(requestFailure, seen)
}

/** A stranger asks for a channel, and nobody has answered. */
async function askedForChannel() {
  const lab = await openChannelLab()
  const { promise, resolve } = Promise.withResolvers<ChannelOpen>()
  lab.connection.onChannelOpen = resolve
  lab.attacker.send(openChannel(7))
  return { lab, open: await promise }
}

function expectEnded(channel: Channel): void {
  const told: string[] = []
  expect(channel.closed).toBe(true)
  channel.handle({
    data: () => told.push('data'),
    extendedData: () => told.push('extended'),
    request: () => told.push('request'),
    eof: () => told.push('eof'),
    close: () => told.push('close'),
  })
  expect(told).toEqual(['close'])
}

/** Everything that can be said on a channel. Gives how many writes were told that they are over. */
async function sayAll(channel: Channel): Promise<number> {
  let sent = 0
  channel.write(Buffer.from('late'), () => sent++)
  channel.writeExtended(1, Buffer.from('late'), () => sent++)
  channel.eof()
  channel.eof()
  channel.widen(1000)
  channel.consumed(1000)
  expect(await channel.request('exit-status', Buffer.of(0, 0, 0, 1), false)).toBe(false)
  expect(await channel.request('exit-signal', Buffer.alloc(0), true)).toBe(false)
  channel.close()
  channel.close()
  channel.abort()
  channel.abort()
  return sent
}

describe('a channel open', () => {
  test('that was accepted is not rejected any more, and its channel works', async () => {
    const { lab, open } = await askedForChannel()
    const channel = open.accept()
    open.reject(prohibited, 'too late')
    channel.write(Buffer.from('hello'), () => {})
    expect((await lab.attacker.first(channelMsg.data)).subarray(9).toString()).toBe('hello')
    await settle(lab)
    expect([countOf(lab, channelMsg.confirmation), countOf(lab, channelMsg.failure)]).toEqual([
      1, 0,
    ])
  })

  test('that was rejected gives a channel that has ended, and takes no place', async () => {
    const { lab, open } = await askedForChannel()
    open.reject(prohibited, 'no')
    open.reject(prohibited, 'no again')
    const channel = open.accept()
    expectEnded(channel)
    expect(await sayAll(channel)).toBe(2)
    await settle(lab)
    expect([countOf(lab, channelMsg.confirmation), countOf(lab, channelMsg.failure)]).toEqual([
      0, 1,
    ])
    expect(lab.attacker.received.map(([type]) => type)).not.toContain(channelMsg.close)
  })

  test('that was accepted twice is open once', async () => {
    const { lab, open } = await askedForChannel()
    const first = open.accept()
    const second = open.accept()
    expectEnded(second)
    second.close()
    expect(first.closed).toBe(false)
    await settle(lab)
    expect([countOf(lab, channelMsg.confirmation), countOf(lab, channelMsg.close)]).toEqual([1, 0])
  })

  test('is answered twice without more places being free than there are', async () => {
    const { lab, open } = await askedForChannel()
    for (let i = 0; i < 20; i++) open.reject(prohibited, '')
    lab.connection.onChannelOpen = (next) => next.accept()
    for (let sender = 10; sender < 22; sender++) lab.attacker.send(openChannel(sender))
    await settle(lab)
    // The lab's connections have eight places.
    expect(countOf(lab, channelMsg.confirmation)).toBe(8)
  })

  test('is answered behind the end of its connection without a fault', async () => {
    for (const end of ['disconnect', 'destroy'] as const) {
      const { lab, open } = await askedForChannel()
      if (end === 'disconnect') lab.connection.disconnect(11, 'over')
      else lab.connection.destroy()
      await lab.connection.done
      const channel = open.accept()
      expectEnded(channel)
      expect(await sayAll(channel)).toBe(2)
      open.reject(prohibited, 'too late')
    }
  })
})

describe('a channel', () => {
  async function opened() {
    const { lab, open } = await askedForChannel()
    const channel = open.accept()
    lab.listen(channel)
    await lab.attacker.first(channelMsg.confirmation)
    return { lab, channel }
  }

  test('ends its data once, and closes once', async () => {
    const { lab, channel } = await opened()
    channel.eof()
    channel.eof()
    channel.close()
    channel.close()
    expect(await sayAll(channel)).toBe(2)
    await lab.attacker.first(channelMsg.close)
    await settle(lab)
    expect([
      countOf(lab, channelMsg.eof),
      countOf(lab, channelMsg.close),
      countOf(lab, channelMsg.request),
      countOf(lab, channelMsg.data),
    ]).toEqual([1, 1, 0, 0])
  })

  test.each([
    [
      'the other side has closed it',
      (lab: Lab) => lab.attacker.send(forChannel(channelMsg.close, 0)),
    ],
    ['its connection has ended', (lab: Lab) => lab.connection.destroy()],
  ])('takes everything without a fault once %s', async (_, end) => {
    const { lab, channel } = await opened()
    end(lab)
    await expect.poll(() => lab.told).toContainEqual(['close'])
    expect(await sayAll(channel)).toBe(2)
  })

  test('answers a request once, and none behind its close', async () => {
    const { lab, channel } = await opened()
    lab.attacker.send(channelRequest(0, 'exec', true), channelRequest(0, 'shell', true))
    await expect.poll(() => lab.requests).toHaveLength(2)
    const [exec, shell] = lab.requests
    exec?.reply(true)
    exec?.reply(false)
    channel.close()
    shell?.reply(true)
    await lab.attacker.first(channelMsg.close)
    await settle(lab)
    expect([countOf(lab, channelMsg.success), countOf(lab, channelMsg.refused)]).toEqual([1, 0])
    lab.connection.destroy()
    for (const request of lab.requests) request.reply(true)
  })

  test('whose owner fails when it hears that bytes have left ends its connection, and nothing else', async () => {
    const { lab, channel } = await opened()
    const fails = () => {
      throw new Error('a fault of ours')
    }
    // More than the wire takes at once: the rest leaves when it is empty again, with nobody to catch.
    for (let i = 0; i < 20; i++) channel.write(Buffer.alloc(32_768), i === 19 ? fails : () => {})
    expect(await lab.connection.done).toMatchObject({ error: { message: 'a fault of ours' } })
    await expect.poll(() => lab.told).toContainEqual(['close'])
  })
})

describe('a global request', () => {
  async function asked(names: readonly string[]) {
    const lab = await openChannelLab()
    const requests: GlobalRequest[] = []
    lab.connection.onGlobalRequest = (request) => {
      if (request.name === 'marker@example.com') request.reply(false)
      else requests.push(request)
    }
    for (const name of names) {
      lab.attacker.send(new Writer().u8(msg.globalRequest).text(name).boolean(true).build())
    }
    await expect.poll(() => requests).toHaveLength(names.length)
    return { lab, requests }
  }

  test('is answered once, and in the order in which it came', async () => {
    const { lab, requests } = await asked(['one', 'two'])
    requests[1]?.reply(true, Buffer.from('two'))
    requests[1]?.reply(true, Buffer.from('too much'))
    requests[0]?.reply(true, Buffer.from('one'))
    requests[0]?.reply(false)
    await settle(lab)
    const answers = lab.attacker.received.filter(([type]) => type === requestSuccess)
    expect(answers.map((answer) => answer.subarray(1).toString())).toEqual(['one', 'two'])
    expect(countOf(lab, requestFailure)).toBe(1)
  })

  test('is answered behind the end of its connection without a fault', async () => {
    const { lab, requests } = await asked(['one'])
    lab.connection.destroy()
    requests[0]?.reply(true, Buffer.from('one'))
    requests[0]?.reply(false)
    expect(await lab.connection.globalRequest('ours', Buffer.alloc(0), true)).toBe(false)
    lab.connection.disconnect(11, 'again')
    lab.connection.destroy()
  })
})

describe('a login', () => {
  async function logIn(handlers: Partial<ServerHandlers>): Promise<Attacker> {
    const server = createSshServer({
      hostKeys: [generateHostKey()],
      ident: 'VaultTerm',
      loginGraceMs: 60_000,
      authTriesMax: 3,
      channelsMax: 8,
      log: silent,
    })
    const [wire, theirs] = duplexPair()
    server.serve(wire, { authenticate: async () => true, ready: () => {}, ...handlers })
    const attacker = new Attacker(theirs)
    await attacker.handshakeForLogin()
    attacker.send(signedLogin(attacker.sessionId))
    return attacker
  }
  const byApplication = 11
  const fails = () => {
    throw new Error('a fault of ours')
  }

  test('behind which the bastion fails ends its connection, and not the process', async () => {
    const ready = await logIn({ ready: fails })
    expect(await ready.disconnectReason()).toBe(byApplication)
    const admitted = await logIn({ admit: async () => true, ready: fails })
    expect(await admitted.disconnectReason()).toBe(byApplication)
  })

  test('that cannot be decided ends its connection, and not the process', async () => {
    for (const handlers of [
      { authenticate: async () => fails() },
      { authenticate: fails },
      { admit: async () => fails() },
      { admit: fails },
    ]) {
      const attacker = await logIn(handlers)
      expect(await attacker.disconnectReason()).toBe(byApplication)
    }
  })
})

test('a signature for a target that is none fails the login, and not the process', async () => {
  const { privateKey } = generateKeyPairSync('ed25519')
  for (const signature of [Buffer.alloc(0), Buffer.from('nothing that has a length')]) {
    const [wire, theirs] = duplexPair()
    const key = { ...signingKey(privateKey), sign: async () => signature }
    const connected = connectOn(wire, { key })
    const refused = expect(connected).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_UPSTREAM_/),
    })
    const impostor = new Impostor(theirs, generateKeyPairSync('ed25519').privateKey)
    await impostor.loginRequest()
    const { publicKey } = key
    impostor.send(new Writer().u8(msg.authMethod60).text('ssh-ed25519').string(publicKey).build())
    await refused
  }
})
