import { afterEach, describe, expect, test, vi } from 'vitest'
import { Writer } from '../../../src/ssh/wire.ts'
import type { Attacker } from '../../support/ssh-attacker.ts'
import { msg } from '../../support/ssh-attacker.ts'
import { openChannelLab } from '../../support/ssh-lab.ts'

/** The clock is turned by hand: an interval here is one turn of it. */
const keepalive = { intervalMs: 1000, countMax: 4 }
afterEach(() => vi.useRealTimers())

async function openLab(options = keepalive) {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const lab = await openChannelLab({ keepalive: options })
  let isOver = false
  void lab.connection.done.then(() => {
    isOver = true
  })
  const turn = async (times: number, between?: () => void) => {
    for (let count = 0; count < times; count++) {
      between?.()
      // What the peer sent must have been read before the clock strikes.
      await new Promise((done) => setTimeout(done, 5))
      vi.advanceTimersByTime(options.intervalMs)
      await new Promise((done) => setTimeout(done, 5))
    }
  }
  return { ...lab, turn, isOver: () => isOver }
}

const ignore = new Writer().u8(2).string(Buffer.alloc(0)).build()
const debug = new Writer().u8(4).boolean(false).text('').text('').build()
const unimplemented = new Writer().u8(3).u32(0xffff_fff0).build()

describe('a peer that answers no keepalive', () => {
  test.each<[string, Buffer]>([
    ['an IGNORE', ignore],
    ['a DEBUG message', debug],
    ['an UNIMPLEMENTED', unimplemented],
  ])('lives as long as it sends %s', async (_, packet) => {
    const { attacker, turn, isOver } = await openLab()
    await turn(12, () => attacker.send(packet))
    expect(isOver()).toBe(false)
  })

  test('is cut off once it has been silent for the interval times the count', async () => {
    const { turn, isOver } = await openLab()
    await turn(4)
    expect(isOver()).toBe(false)
    await turn(1)
    expect(isOver()).toBe(true)
  })

  test.each([
    ['no interval', { intervalMs: 0, countMax: 4 }],
    ['no count', { intervalMs: 1000, countMax: 0 }],
  ])('is never cut off with %s', async (_, options) => {
    const { turn, isOver } = await openLab(options)
    await turn(20)
    expect(isOver()).toBe(false)
  })

  test('is asked once, and owes no second answer', async () => {
    const { attacker, turn } = await openLab()
    await turn(3, () => attacker.send(ignore))
    expect(asked(attacker)).toHaveLength(1)
  })
})

test('an UNIMPLEMENTED answers the keepalive that it names, and not the request behind it', async () => {
  const { attacker, connection, turn } = await openLab()
  await turn(1)
  const number = await attacker.until(() => packetNumberOf(attacker, asked(attacker)[0]))
  if (number === undefined) throw new Error('no keepalive came')
  const listening = connection.globalRequest('tcpip-forward', Buffer.alloc(0), true)
  attacker.send(new Writer().u8(3).u32(number).build())
  attacker.send(new Writer().u8(81).u32(4242).build())
  expect(await listening).toEqual(new Writer().u32(4242).build())
})

function asked(attacker: Attacker): readonly Buffer[] {
  return attacker.received.filter(
    (payload) => payload[0] === msg.globalRequest && payload.includes('keepalive@openssh.com'),
  )
}

/** Packets are counted from the first one on, key exchange and all: RFC 4253 section 6.4. */
function packetNumberOf(attacker: Attacker, payload: Buffer | undefined): number | undefined {
  const index = payload === undefined ? -1 : attacker.received.indexOf(payload)
  return index < 0 ? undefined : index
}
