import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import {
  adoptSocket,
  type Channel,
  type ChannelHandlers,
  type Connection,
  openSocket,
  Writer,
} from '../../../src/ssh/index.ts'
import { usesNativeCiphers } from '../../../src/ssh/ssh2/index.ts'
import { Attacker, msg } from '../../support/ssh-attacker.ts'
import {
  channelData,
  channelMsg,
  channelRequest,
  forChannel,
  openChannel,
  openChannelLab,
  signedLogin,
} from '../../support/ssh-lab.ts'
import { connectOn, serveOn } from '../../support/ssh-pair.ts'

const open: (() => void)[] = []
afterEach(() => {
  for (const close of open.splice(0)) close()
})

/** A port whose connections our server serves in memory of their own, as in a worker. */
async function listen() {
  const arrived = Promise.withResolvers<Socket>()
  const served = Promise.withResolvers<Connection>()
  const server = createServer({ pauseOnConnect: true }, (given) => {
    const socket = adoptSocket(given)
    arrived.resolve(socket)
    serveOn(socket).then(served.resolve, served.reject)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('no address')
  open.push(() => server.close())
  return { port: address.port, arrived: arrived.promise, served: served.promise }
}

/** Keeps back the end of what it sends, when told to. */
class Tearing extends Attacker {
  kept = 0
  #rest = Buffer.alloc(0)

  override write(bytes: Uint8Array | string): void {
    if (this.kept === 0) return super.write(bytes)
    const all = Buffer.from(bytes)
    this.#rest = all.subarray(all.length - this.kept)
    super.write(all.subarray(0, all.length - this.kept))
  }

  /** Sends what was kept back. */
  finish(): void {
    this.kept = 0
    this.write(this.#rest)
  }
}

const ignore = (bytes: Buffer) => new Writer().u8(2).string(bytes).build()
const filler = ignore(Buffer.alloc(30_000))

/** A user who has a channel, and memory to read into behind it. */
async function enter(
  handlers: Partial<ChannelHandlers>,
  accepted: (channel: Channel) => void = () => {},
) {
  const { port, arrived, served } = await listen()
  const socket = connect(port, '127.0.0.1')
  open.push(() => socket.destroy())
  const attacker = new Tearing(socket)
  await attacker.handshakeForLogin()
  attacker.send(signedLogin(attacker.sessionId))
  await attacker.first(msg.authSuccess)
  const connection = await served
  let ours: Channel | undefined
  connection.onChannelOpen = (request) => {
    ours = request.accept()
    accepted(ours)
    listenTo(ours, handlers)
  }
  attacker.send(openChannel(0))
  await attacker.first(channelMsg.confirmation)
  /** Until all that was sent has been read. */
  const heard = async () => {
    const since = attacker.received.length
    attacker.send(channelRequest(0, 'heard', true))
    await attacker.first(channelMsg.success, since)
  }
  for (let times = 0; times < 4; times++) {
    attacker.send(...Array(8).fill(filler))
    await heard()
  }
  return { attacker, heard, theirs: await arrived }
}

/** As a session does: what has no meaning in its direction goes nowhere, and costs no window. */
function listenTo(channel: Channel, handlers: Partial<ChannelHandlers>): void {
  channel.handle({
    data: () => {},
    extendedData: (_kind, chunk) => channel.consumed(chunk.length),
    request: (request) => request.reply(true),
    eof: () => {},
    close: () => {},
    ...handlers,
  })
}

test('the ciphers decrypt in place, so memory that is reused is seen to be', () => {
  expect(usesNativeCiphers()).toBe(true)
})

test('attack: a request that waits cannot be changed by what comes after it', async () => {
  const target = await openChannelLab()
  target.attacker.send(openChannel(5, 0))
  await target.attacker.first(channelMsg.confirmation)
  const { attacker, heard } = await enter({
    // It was inspected, and waits for the target's window.
    data: (chunk) => target.channels[0]?.write(chunk, () => {}),
  })
  const good = Buffer.alloc(3000, 'good')
  attacker.send(filler, filler, channelData(0, good), filler, filler)
  await heard()
  const stderr = forChannel(channelMsg.extendedData, 0, 1)
  for (let times = 0; times < 12; times++) {
    attacker.send(new Writer().bytes(stderr).string(Buffer.alloc(1000)).build())
    await heard()
  }
  const bad = ignore(Buffer.alloc(3004, 'evil'))
  for (let times = 0; times < 3; times++) {
    attacker.send(filler, filler, bad, filler, filler)
    await heard()
  }
  target.attacker.send(forChannel(channelMsg.adjust, 0, 2 ** 20))
  const came = await target.attacker.first(channelMsg.data)
  expect(came.subarray(9).equals(good)).toBe(true)
})

test('attack: a request that came torn in two cannot be changed by what comes after it', async () => {
  const kept: Buffer[] = []
  const { attacker, heard, theirs } = await enter({ data: (chunk) => kept.push(chunk) })
  const good = Buffer.alloc(3000, 'good')
  const before = theirs.bytesRead
  attacker.kept = 16
  attacker.send(filler, filler, filler, filler, channelData(0, good))
  await vi.waitFor(() => expect(theirs.bytesRead).toBeGreaterThan(before + 120_000), {
    interval: 1,
  })
  attacker.finish()
  await heard()
  for (let times = 0; times < 3; times++) {
    attacker.send(...Array(8).fill(filler))
    await heard()
  }
  expect(Buffer.concat(kept).equals(good)).toBe(true)
})

test('attack: an answer that waits cannot be changed by what the target sends after it', async () => {
  const { port, served } = await listen()
  const socket = openSocket('127.0.0.1', port)
  await once(socket, 'connect')
  open.push(() => socket.destroy())
  const upstream = await connectOn(socket)
  const there = await served
  let target: Channel | undefined
  there.onChannelOpen = (request) => {
    target = request.accept()
    listenTo(target, {})
  }
  const channel = await upstream.openChannel('session', Buffer.alloc(0))
  const kept: Buffer[] = []
  let isKept = false
  listenTo(channel, {
    data: (chunk) => {
      if (isKept && kept.length < 4) kept.push(chunk)
      else channel.drop(chunk)
    },
  })
  const send = async (byte: string) => {
    for (let times = 0; times < 4; times++) {
      target?.write(Buffer.alloc(32_768, byte), () => {})
    }
    expect(await target?.request('heard', Buffer.alloc(0), true)).toBe(true)
  }
  for (let times = 0; times < 8; times++) await send('.')
  isKept = true
  await send('A')
  for (let times = 0; times < 140; times++) {
    target?.writeExtended(1, Buffer.alloc(1000), () => {})
  }
  await target?.request('heard', Buffer.alloc(0), true)
  for (let times = 0; times < 8; times++) await send('B')
  expect(Buffer.concat(kept).equals(Buffer.alloc(4 * 32_768, 'A'))).toBe(true)
})

/** The memory that these chunks keep from being given back. */
function backingBytes(chunks: readonly Buffer[]): number {
  const memories = new Set(chunks.map(({ buffer }) => buffer))
  return [...memories].reduce((sum, { byteLength }) => sum + byteLength, 0)
}

const bytesOf = (chunks: readonly Buffer[]) => chunks.reduce((sum, { length }) => sum + length, 0)

test.each([1024, 16_384])(
  'attack: data of %i bytes that waits does not keep the filler around it',
  async (bytes) => {
    const kept: Buffer[] = []
    const { attacker, heard } = await enter({ data: (chunk) => kept.push(chunk) })
    const long = ignore(Buffer.alloc(240_000))
    for (let times = 0; times < 40; times++) {
      attacker.send(long, long, channelData(0, Buffer.alloc(bytes)), long, long)
      await heard()
    }
    expect(kept).toHaveLength(40)
    expect(backingBytes(kept)).toBeLessThan(10 * 2 ** 20)
  },
)

test('attack: data that waits does not keep the memory of data that went on later', async () => {
  const kept: Buffer[] = []
  let passing: Buffer[] = []
  let channel: Channel | undefined
  const { attacker, heard } = await enter(
    {
      data: (chunk) => (chunk[0] === 1 ? kept : passing).push(chunk),
      request: (request) => {
        for (const chunk of passing) channel?.drop(chunk)
        passing = []
        request.reply(true)
      },
    },
    (accepted) => {
      channel = accepted
    },
  )
  const passes = channelData(0, Buffer.alloc(32_768, 0))
  for (let times = 0; times < 40; times++) {
    attacker.send(...Array(16).fill(passes), channelData(0, Buffer.alloc(16_384, 1)))
    attacker.send(...Array(16).fill(passes))
    await heard()
  }
  expect(kept).toHaveLength(40)
  expect(backingBytes(kept)).toBeLessThan(10 * 2 ** 20)
})

test('long data that waits is not copied, and keeps little more than its bytes', async () => {
  const kept: Buffer[] = []
  const { attacker, heard } = await enter({ data: (chunk) => kept.push(chunk) })
  for (let times = 0; times < 7; times++) {
    attacker.send(...Array(8).fill(channelData(0, Buffer.alloc(32_768))))
    await heard()
  }
  const copies = kept.filter(({ length, buffer }) => length === buffer.byteLength)
  expect(copies).toHaveLength(0)
  expect(backingBytes(kept)).toBeLessThan(3 * bytesOf(kept))
})

test.each([
  ['data', channelData(0, Buffer.alloc(1024))],
  [
    'extended data',
    new Writer()
      .bytes(forChannel(95, 0, 1))
      .string(Buffer.alloc(1024))
      .build(),
  ],
  ['a window adjustment', forChannel(channelMsg.adjust, 0, 1)],
  ['an end', forChannel(channelMsg.eof, 0)],
  ['a close', forChannel(channelMsg.close, 0)],
  ['an answer', forChannel(channelMsg.success, 0)],
])('attack: bytes behind %s end the connection', async (_what, payload) => {
  const { attacker, channels } = await openChannelLab()
  attacker.send(openChannel(0))
  await attacker.first(channelMsg.confirmation)
  expect(channels).toHaveLength(1)
  attacker.send(new Writer().bytes(payload).bytes(Buffer.alloc(1)).build())
  expect(await attacker.disconnectReason()).toBe(2)
})

test('attack: a request with a name that is longer than names are is refused, and not kept', async () => {
  const { attacker, channels, listen, told } = await openChannelLab()
  attacker.send(openChannel(0))
  await attacker.first(channelMsg.confirmation)
  attacker.send(channelRequest(0, 'x'.repeat(65), true), channelRequest(0, 'x'.repeat(64), false))
  await attacker.first(channelMsg.refused)
  attacker.send(new Writer().u8(msg.globalRequest).text('heard').boolean(true).build())
  await attacker.first(82)
  listen(channels[0])
  expect(told).toEqual([['request', 'x'.repeat(64)]])
})
