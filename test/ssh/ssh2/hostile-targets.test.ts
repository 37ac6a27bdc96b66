import { generateKeyPairSync } from 'node:crypto'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import {
  type Channel,
  type Connection,
  formatOpenSshPrivateKey,
  Reader,
  type UpstreamOptions,
  Writer,
} from '../../../src/ssh/index.ts'
import { msg } from '../../support/ssh-attacker.ts'
import { Impostor } from '../../support/ssh-impostor.ts'
import { channelData, channelMsg, channelRequest, forChannel } from '../../support/ssh-lab.ts'
import { connectOn } from '../../support/ssh-pair.ts'
import { loadSsh2 } from '../../support/ssh2-library.ts'
import { makeStockSsh2 } from '../../support/ssh2-stock.ts'

/** What a target does to the bastion that dials it. Where nothing else is said, all else is honest. */
const hostKey = generateKeyPairSync('ed25519').privateKey

interface TargetLab {
  readonly impostor: Impostor
  /** Our end of the wire. */
  readonly wire: Duplex
  readonly connected: Promise<Connection>
}

function dial(options: Partial<UpstreamOptions> = {}): TargetLab {
  const [wire, theirs] = duplexPair()
  const connected = connectOn(wire, options)
  connected.catch(() => {})
  return { impostor: new Impostor(theirs, hostKey), wire, connected }
}

const outcome = ({ connected }: TargetLab) =>
  connected.then(
    () => 'connected',
    (err: { code?: string }) => err.code,
  )

const accepted = new Writer().u8(msg.serviceAccept).text('ssh-userauth').build()

/** Up to and with the login, said yes to. */
async function letIn(impostor: Impostor): Promise<void> {
  if ((await impostor.loginRequest()) !== undefined) impostor.send(Buffer.of(msg.authSuccess))
}

const confirmation = (window = 2 ** 21, packetMax = 2 ** 15) =>
  forChannel(channelMsg.confirmation, 0, 0, window, packetMax)

/** A channel that the target has opened for us, on these terms. */
async function openOne(lab: TargetLab, terms = confirmation()): Promise<Channel> {
  void letIn(lab.impostor)
  const connection = await lab.connected
  const channel = connection.openChannel('session', Buffer.alloc(0))
  await lab.impostor.first(channelMsg.open)
  lab.impostor.send(terms)
  return channel
}

describe('UP-01: a channel whose packets may hold nothing', () => {
  test.each([0, 1, 255])('is none: packets of %i bytes', async (packetMax) => {
    const lab = dial()
    await expect(openOne(lab, confirmation(2 ** 32 - 1, packetMax))).rejects.toMatchObject({
      code: 'ERR_SSH_CHANNEL_REFUSED',
    })
    const connection = await lab.connected
    expect((await connection.done).error).toMatchObject({ code: 'ERR_SSH_PROTOCOL' })
  })

  test('is one with 256 (control)', async () => {
    const lab = dial()
    const channel = await openOne(lab, confirmation(2 ** 21, 256))
    channel.write(Buffer.alloc(300, 'x'), () => {})
    expect((await lab.impostor.first(channelMsg.data)).length).toBe(1 + 4 + 4 + 256)
  })
})

test('UP-02: more than the window ends the connection, and is never held', async () => {
  const lab = dial()
  await openOne(lab)
  const chunk = channelData(0, Buffer.alloc(32_768))
  for (let sent = 0; sent < 70; sent++) lab.impostor.send(chunk)
  const connection = await lab.connected
  expect((await connection.done).error).toMatchObject({ code: 'ERR_SSH_PROTOCOL' })
})

test('UP-02: all of the window waits for who does not read (control)', async () => {
  const lab = dial()
  const channel = await openOne(lab)
  for (let sent = 0; sent < 64; sent++) lab.impostor.send(channelData(0, Buffer.alloc(32_768)))
  lab.impostor.send(forChannel(channelMsg.eof, 0))
  let bytes = 0
  await new Promise<void>((done) => {
    setImmediate(() =>
      channel.handle({
        data: (piece) => {
          bytes += piece.length
        },
        extendedData() {},
        request() {},
        eof: done,
        close() {},
      }),
    )
  })
  expect(bytes).toBe(64 * 32_768)
})

describe('UP-03: a host key is accepted by a yes', () => {
  /** What a careless verifier may give, whatever its type says. */
  const answers: readonly [string, () => unknown][] = [
    ['false', () => Promise.resolve(false)],
    ['undefined', () => Promise.resolve()],
    ['null', () => Promise.resolve(null)],
    ['zero', () => Promise.resolve(0)],
    ['one', () => Promise.resolve(1)],
    ['a text', () => Promise.resolve('no')],
    ['an object', () => Promise.resolve({ ok: false })],
    ['an error', () => Promise.resolve(new Error('unknown host key'))],
    ['a failure', () => Promise.reject(new Error('the database is gone'))],
    [
      'what it throws',
      () => {
        throw new Error('a fault of ours')
      },
    ],
  ]
  const run = async (answer: () => unknown) => {
    const verifyHostKey = answer as UpstreamOptions['verifyHostKey']
    const lab = dial({ verifyHostKey, handshakeMs: 20_000 })
    void letIn(lab.impostor)
    const said = await outcome(lab)
    const asked = lab.impostor.received.some(([type]) => type === msg.serviceRequest)
    return { said, asked }
  }

  test.each(answers)('not by %s', async (_, answer) => {
    expect(await run(answer)).toEqual({ said: 'ERR_UPSTREAM_HOST_KEY', asked: false })
  })

  test('by true (control)', async () => {
    expect(await run(async () => true)).toEqual({ said: 'connected', asked: true })
  })
})

describe('UP-04: a target that fishes for secrets', () => {
  const stock = makeStockSsh2()
  afterAll(() => stock.remove())
  const fish = new Writer()
    .u8(msg.authFailure)
    .text('password,keyboard-interactive,hostbased,publickey')
    .boolean(false)
    .build()

  /** Which methods a client tries when it is told to try all of them. */
  async function tried(impostor: Impostor): Promise<string[]> {
    const methods: string[] = []
    await impostor.handshake()
    for (;;) {
      const payload = await impostor.next()
      if (payload === undefined) return methods
      if (payload[0] === msg.serviceRequest) impostor.send(accepted)
      if (payload[0] !== msg.authRequest) continue
      const reader = new Reader(payload)
      reader.u8()
      reader.string()
      reader.string()
      methods.push(reader.text())
      impostor.send(fish)
    }
  }

  test('gets one try with a key', async () => {
    const lab = dial()
    const methods = tried(lab.impostor)
    expect(await outcome(lab)).toBe('ERR_UPSTREAM_AUTH')
    expect(await methods).toEqual(['publickey'])
  })

  test.each([
    [
      'a question',
      new Writer().u8(60).text('').text('').text('').u32(1).text('vault password').u8(0).build(),
    ],
    ['a new password', new Writer().u8(60).text('your password has expired').text('').build()],
    ['a second factor', new Writer().u8(51).text('keyboard-interactive').boolean(true).build()],
  ])('gets nothing for %s', async (_, answer) => {
    const lab = dial()
    const sent: (number | undefined)[] = []
    const play = async () => {
      await lab.impostor.handshake()
      for (;;) {
        const payload = await lab.impostor.next()
        if (payload === undefined) return
        if (payload[0] === msg.serviceRequest) lab.impostor.send(accepted)
        if (payload[0] === msg.authRequest) lab.impostor.send(answer)
        sent.push(payload[0])
      }
    }
    const played = play()
    expect(await outcome(lab)).toMatch(/^ERR_UPSTREAM_/)
    await played
    // A key that is shown, and one signature.
    expect(sent.filter((type) => type === msg.authRequest).length).toBeLessThanOrEqual(2)
    expect(sent).not.toContain(msg.authInfoResponse)
  })

  test.each([
    ['stock ssh2 as its manual has it', stock.path],
    [
      'ours, with the same settings',
      dirname(createRequire(import.meta.url).resolve('ssh2/package.json')),
    ],
  ])('gets the password of %s (control)', async (_, path) => {
    const ssh2 = loadSsh2(path)
    const [sock, theirs] = duplexPair()
    const impostor = new Impostor(theirs, hostKey)
    const client = new ssh2.Client()
    client.on('error', () => {})
    const privateKey = formatOpenSshPrivateKey(generateKeyPairSync('ed25519').privateKey)
    client.connect({ sock, username: 'root', password: 'of the vault', privateKey, algorithms })
    expect(await tried(impostor)).toContain('password')
  })
  const algorithms = { kex: ['curve25519-sha256'], serverHostKey: ['ssh-ed25519'] }
})

describe('UP-07: a target that keeps us waiting is left', () => {
  const handshakeMs = 300
  const drip = async (impostor: Impostor, text: string) => {
    for (const byte of Buffer.from(text)) {
      impostor.write(Buffer.of(byte))
      await sleep(20)
    }
  }
  const stalls: readonly [string, (impostor: Impostor) => Promise<void> | void][] = [
    ['before its first word', () => {}],
    ['with a byte now and then', (impostor) => drip(impostor, 'SSH-2.0-a-very-slow-target')],
    ['with greetings', (impostor) => drip(impostor, 'hello\r\n'.repeat(10))],
    ['in the exchange of keys', (impostor) => impostor.sendIdent()],
    [
      'before the end of the exchange',
      (impostor) => {
        impostor.sendIdent()
        impostor.send(impostor.makeKexInit())
      },
    ],
    ['before the login', (impostor) => impostor.handshake()],
    [
      'in the login',
      async (impostor) => {
        await impostor.handshake()
        await impostor.first(msg.serviceRequest)
        impostor.send(accepted)
      },
    ],
    [
      'with banners without end',
      async (impostor) => {
        await impostor.handshake()
        await impostor.first(msg.serviceRequest)
        impostor.send(accepted)
        const banner = new Writer().u8(53).text('please wait').text('').build()
        for (let count = 0; count < 30; count++) {
          impostor.send(banner)
          await sleep(20)
        }
      },
    ],
  ]
  test.each(stalls)('%s', async (_, stall) => {
    const lab = dial({ handshakeMs })
    void Promise.resolve(stall(lab.impostor)).catch(() => {})
    expect(await outcome(lab)).toBe('ERR_UPSTREAM_TIMEOUT')
    expect(lab.wire.destroyed).toBe(true)
  })

  test('with 8 MB of greetings, not even so long', async () => {
    const lab = dial()
    const line = Buffer.from(`${'A'.repeat(8192)}\r\n`)
    for (let lines = 0; lines < 1024 && !lab.wire.destroyed; lines++) {
      lab.impostor.write(line)
      if (lines % 16 === 0) await sleep(0)
    }
    expect(await outcome(lab)).toMatch(/^ERR_UPSTREAM_(PROTOCOL|CLOSED)$/)
  })

  test('but not one that takes its time (control)', async () => {
    const lab = dial({ handshakeMs: 20_000 })
    await sleep(handshakeMs)
    void letIn(lab.impostor)
    expect(await outcome(lab)).toBe('connected')
  })
})

describe('UP-08: a target that opens channels to us', () => {
  test.each([
    'forwarded-tcpip',
    'forwarded-streamlocal@openssh.com',
    'x11',
    'auth-agent@openssh.com',
    'session',
    'direct-tcpip',
  ])('of type %s gets none, a thousand times', async (type) => {
    const lab = dial()
    const channel = await openOne(lab)
    const opens = Array.from({ length: 1000 }, (_, sender) =>
      new Writer()
        .u8(channelMsg.open)
        .text(type)
        .u32(sender)
        .u32(2 ** 21)
        .u32(2 ** 15)
        .build(),
    )
    lab.impostor.send(...opens)
    const answers = (number: number) =>
      lab.impostor.received.filter((payload) => payload[0] === number)
    await lab.impostor.until(() => answers(channelMsg.failure)[999])
    expect(answers(channelMsg.failure).length).toBe(1000)
    expect(answers(channelMsg.confirmation)).toEqual([])
    // What we came for goes on (control).
    channel.write(Buffer.from('still here'), () => {})
    expect((await lab.impostor.first(channelMsg.data)).subarray(9).toString()).toBe('still here')
  })
})

describe('UP-10: a target that ends a session oddly', () => {
  async function told(...payloads: readonly Buffer[]) {
    const lab = dial()
    const channel = await openOne(lab)
    const heard: string[] = []
    const closed = new Promise<void>((done) => {
      channel.handle({
        data: (chunk) => heard.push(`data ${chunk}`),
        extendedData: (_, chunk) => heard.push(`error ${chunk}`),
        request: ({ name, payload }) => heard.push(`${name} ${payload.length}`),
        eof: () => heard.push('eof'),
        close: () => {
          heard.push('close')
          done()
        },
      })
    })
    lab.impostor.send(...payloads)
    await closed
    const { error } = await Promise.race([
      (await lab.connected).done,
      sleep(50, { error: undefined }),
    ])
    return { heard, broken: error !== undefined }
  }
  const status = (value: number) =>
    channelRequest(0, 'exit-status', false, new Writer().u32(value).build())
  const eof = forChannel(channelMsg.eof, 0)
  const close = forChannel(channelMsg.close, 0)

  test('with all that it said first (control)', async () => {
    expect(await told(channelData(0, 'a'), eof, status(3), close)).toEqual({
      heard: ['data a', 'eof', 'exit-status 4', 'close'],
      broken: false,
    })
  })

  test('with more output behind the end of it', async () => {
    expect(await told(channelData(0, 'a'), eof, channelData(0, 'b'), status(3), close)).toEqual({
      heard: ['data a', 'eof', 'close'],
      broken: true,
    })
  })

  test('without a word', async () => {
    expect(await told(close)).toEqual({ heard: ['close'], broken: false })
  })

  test('twice', async () => {
    const { heard, broken } = await told(status(1), status(0), eof, eof, close)
    expect([heard, broken]).toEqual([['exit-status 4', 'exit-status 4', 'eof', 'close'], false])
  })

  test('with more behind the end', async () => {
    expect(await told(close, channelData(0, 'late'))).toMatchObject({ heard: ['close'] })
  })

  test('with a message as long as a packet', async () => {
    const signal = new Writer().text('KILL').boolean(false).text('x'.repeat(30_000)).text('')
    const { heard } = await told(channelRequest(0, 'exit-signal', false, signal.build()), close)
    expect(heard).toEqual([expect.stringMatching(/^exit-signal 300\d\d$/), 'close'])
  })
})

test('CH-18: answers to nothing that was asked change nothing', async () => {
  const lab = dial()
  const channel = await openOne(lab)
  const nothing = [Buffer.of(81), Buffer.of(82), forChannel(99, 0), forChannel(100, 0)]
  for (let round = 0; round < 1000; round++) lab.impostor.send(...nothing)
  const asked = channel.request('exec', new Writer().text('x').build(), true)
  await lab.impostor.first(channelMsg.request)
  lab.impostor.send(forChannel(channelMsg.success, 0))
  expect(await asked).toBe(true)
})
