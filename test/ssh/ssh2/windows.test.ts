import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  type Channel,
  type Connection,
  formatPublicKey,
  openSocket,
  Writer,
} from '../../../src/ssh/index.ts'
import { ReceiveWindow, WindowBudget, WindowShares } from '../../../src/ssh/ssh2/receive-window.ts'
import { type Distance, openDistance } from '../../support/distance.ts'
import type { Attacker } from '../../support/ssh-attacker.ts'
import { Authority, publicKeyOf } from '../../support/ssh-authority.ts'
import { channelMsg, forChannel, openChannel, openChannelLab } from '../../support/ssh-lab.ts'
import { listenForClients } from '../../support/ssh-listener.ts'
import { connectOn, signingKey } from '../../support/ssh-pair.ts'
import { Sshd } from '../../support/sshd.ts'

/** A round trip of 50 ms. */
const delayMs = 25
const mebibyte = 2 ** 20
const usual = 2 * mebibyte
const most = 8 * mebibyte
/** What there is on a wire beside data. */
const packaging = 1.05

const { privateKey } = generateKeyPairSync('ed25519')
let sshd: Sshd
let distance: Distance
beforeAll(async () => {
  sshd = await Sshd.start()
  sshd.authorize(formatPublicKey(publicKeyOf(privateKey)))
})
afterAll(() => sshd.close())

interface Flood {
  readonly connection: Connection
  readonly channel: Channel
  /** Bytes that came and were not given back. */
  readonly held: () => number
  /** Gives back all there is, and from then on what comes. */
  take(): void
  /** Takes nothing more. */
  stall(): void
}

/** Something that a target sends without end, and that comes to us over so long a way. */
async function startFlood(ms: number): Promise<Flood> {
  distance = await openDistance(sshd.port, ms)
  const socket = openSocket('127.0.0.1', distance.port)
  await once(socket, 'connect')
  const connection = await connectOn(socket, { user: sshd.login, key: signingKey(privateKey) })
  const channel = await connection.openChannel('session', Buffer.alloc(0))
  let held = 0
  let taking = false
  const giveBack = () => {
    const bytes = held
    held = 0
    channel.consumed(bytes)
  }
  channel.handle({
    data: (chunk) => {
      held += chunk.length
      if (taking) giveBack()
    },
    extendedData: () => {},
    request: (request) => request.reply(false),
    eof: () => {},
    close: () => {},
  })
  await channel.request('exec', new Writer().text('cat /dev/zero').build(), true)
  return {
    connection,
    channel,
    held: () => held,
    take() {
      taking = true
      giveBack()
    },
    stall() {
      taking = false
    },
  }
}

async function end({ connection }: Flood) {
  connection.destroy()
  distance.close()
}

/** What is held once nothing more has come for so many looks. */
async function settled(flood: Flood, looks = 1): Promise<number> {
  let last = -1
  let same = 0
  await vi.waitFor(
    () => {
      const now = flood.held()
      same = now === last ? same + 1 : 0
      last = now
      expect(same).toBe(looks)
    },
    { timeout: 30_000, interval: 4 * delayMs + 200 },
  )
  return last
}

describe('a target far away', () => {
  test('gets a window that the distance asks for, and that stays bounded', async () => {
    const flood = await startFlood(delayMs)
    flood.take()
    // On one half of the way is what the usual window could not have on all of it.
    await vi.waitFor(() => expect(distance.most.from).toBeGreaterThan(usual * packaging), 30_000)
    await vi.waitFor(() => expect(distance.most.from).toBeGreaterThan(3 * mebibyte), 30_000)
    flood.stall()
    const held = await settled(flood, 5)
    expect(held).toBeGreaterThan(usual)
    expect(held).toBeLessThanOrEqual(most)
    // Who did not keep up is given back no more than the usual.
    flood.take()
    flood.stall()
    expect(await settled(flood)).toBeLessThanOrEqual(usual)
    await end(flood)
  })

  test('gets no more than the usual where nobody takes what it sends (control)', async () => {
    const flood = await startFlood(delayMs)
    for (let round = 0; round < 10; round++) {
      expect(await settled(flood)).toBeLessThanOrEqual(usual)
      flood.take()
      flood.stall()
    }
    expect(distance.most.from).toBeLessThan(usual * packaging)
    await end(flood)
  })
})

test('a client far away gets one, too', async () => {
  const keys = new Authority()
  const listener = await listenForClients((connection) => {
    connection.onChannelOpen = (open) => {
      const channel = open.accept()
      channel.handle({
        data: (chunk) => channel.consumed(chunk.length),
        extendedData: () => {},
        request: (request) => request.reply(true),
        eof: () => {},
        close: () => {},
      })
    }
  })
  const way = await openDistance(listener.port, delayMs)
  const zero = spawn('cat', ['/dev/zero'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const client = spawn(
    'ssh',
    [
      ...['-F', 'none', '-i', keys.newKey('ed25519').file, '-p', String(way.port)],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
      ...['somebody@127.0.0.1', 'take'],
    ],
    { stdio: [zero.stdout, 'ignore', 'ignore'] },
  )
  try {
    await vi.waitFor(() => expect(way.most.to).toBeGreaterThan(usual * packaging), 30_000)
  } finally {
    for (const child of [client, zero]) child.kill('SIGKILL')
    way.close()
    await listener.close()
    keys.remove()
  }
})

/** The windows that the channels of an attacker were given, in their order. */
const given = (attacker: Attacker) =>
  attacker.received
    .filter(([type]) => type === channelMsg.confirmation)
    .map((payload) => payload.readUInt32BE(9))

describe('attack: channels that nobody takes from', () => {
  test('make us hold no more for all of them than for a few, and a little for each', async () => {
    const { attacker, channels } = await openChannelLab({ channelsMax: 1000 })
    for (let id = 0; id < 500; id++) attacker.send(openChannel(id))
    const windows = await attacker.until(() => {
      const all = given(attacker)
      return all.length === 500 ? all : undefined
    })
    // Those of a few channels are as large as ever.
    expect(windows?.slice(0, 24)).toEqual(Array.from({ length: 24 }, () => usual))
    expect(Math.min(...(windows ?? []))).toBe(65_536)
    const sum = (windows ?? []).reduce((all, bytes) => all + bytes, 0)
    expect(sum).toBeLessThan(64 * mebibyte + 500 * 65_536)
    // What ended channels had is there for others.
    for (const channel of channels) channel.abort()
    for (let id = 0; id < 500; id++) attacker.send(forChannel(channelMsg.close, id))
    attacker.send(openChannel(500))
    expect(await attacker.until(() => given(attacker)[500])).toBe(usual)
  })

  test('get no more where they are widened', () => {
    const shares = new WindowShares(8 * mebibyte, 8)
    const windows = Array.from({ length: 100 }, () => {
      const bytes = shares.take(65_536)
      return new ReceiveWindow(bytes, new WindowBudget(0), { isWhole: false, shares })
    })
    for (const window of windows) window.widen(usual)
    const sum = windows.reduce((all, { size }) => all + size, 0)
    expect(sum).toBeLessThan(8 * mebibyte + 100 * 65_536)
    for (const window of windows) window.end()
    expect(shares.take(usual)).toBe(mebibyte)
  })
})

describe('windows of many channels', () => {
  const open = (budget: WindowBudget) => new ReceiveWindow(usual, budget)

  test('grow as far as there is room in all', () => {
    const all = new WindowBudget(7 * mebibyte)
    const [one, other] = [new WindowBudget(8 * mebibyte, all), new WindowBudget(8 * mebibyte, all)]
    const windows = [open(one), open(one), open(other), open(other)]
    for (let round = 0; round < 4; round++) for (const window of windows) window.grow()
    const sizes = windows.map(({ size }) => size / mebibyte)
    expect(sizes).toEqual([4, 4, 4, 2])
    // What one connection gives back is there for others.
    for (const window of windows.slice(0, 2)) window.end()
    expect([windows[3]?.grow(), windows[3]?.size]).toEqual([true, 4 * mebibyte])
  })

  test('give back what they have grown by once it is not underway any more', () => {
    const budget = new WindowBudget(2 * mebibyte)
    const [window, other] = [open(budget), open(budget)]
    expect([window.grow(), other.grow()]).toEqual([true, false])
    expect(window.consumed(0)).toBe(2 * mebibyte)
    // All of it comes, and nobody takes it.
    expect(window.take(4 * mebibyte)).toBe(true)
    expect([window.size, other.grow(), window.take(1)]).toEqual([usual, false, false])
    // The first half is no credit: that is how a window shrinks.
    expect(window.consumed(2 * mebibyte)).toBe(0)
    expect(other.grow()).toBe(true)
    expect(window.consumed(2 * mebibyte)).toBe(2 * mebibyte)
  })

  test('do not grow before they are whole', () => {
    const window = new ReceiveWindow(65_536, new WindowBudget(most))
    expect(window.grow()).toBe(false)
    window.widen(usual - 65_536)
    expect(window.grow()).toBe(true)
  })
})
