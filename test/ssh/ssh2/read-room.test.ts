import { once } from 'node:events'
import type { Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { lend, letGo, ReadMemory } from '../../../src/ssh/ssh2/read-memory.ts'
import { ReadRoom } from '../../../src/ssh/ssh2/read-room.ts'
import { readMemoryOf } from '../../../src/ssh/ssh2/sockets.ts'
import { AdoptedSockets } from '../../support/adopted-sockets.ts'
import { heldBytes } from '../../support/heap.ts'

const sockets = new AdoptedSockets()
afterEach(() => sockets[Symbol.dispose]())

const mib = 2 ** 20

/** Someone who is in, and has sent much. */
function busy(room: ReadRoom, user: string): ReadMemory {
  const memory = new ReadMemory(room)
  memory.isHeld = () => false
  memory.user = () => user
  memory.next()
  memory.read(32 * 1024, () => {})
  memory.next()
  return memory
}

/** Reads so much, keeps a part of each piece, and lets all of it go. */
function fill(memory: ReadMemory, bytes: number): void {
  const kept: Buffer[] = []
  for (let read = 0; read < bytes; read += 256 * 1024) {
    memory.read(memory.next().length, (chunk) => {
      const part = chunk.subarray(0, 5000)
      lend(part)
      kept.push(part)
    })
  }
  memory.next()
  kept.forEach(letGo)
}

test('attack: however many connections filled their memory, what they keep is bounded', () => {
  const room = new ReadRoom(10, 60_000)
  const memories = Array.from({ length: 40 }, () => busy(room, 'mallory'))
  for (const memory of memories) fill(memory, 6 * mib)
  expect(room.size).toBe(10)
  for (const memory of memories) memory.end()
  expect(room.size).toBe(0)
})

test('attack: a user with many connections makes room for another user', () => {
  const room = new ReadRoom(10, 60_000)
  for (let count = 0; count < 40; count++) fill(busy(room, 'mallory'), 6 * mib)
  const memory = busy(room, 'victor')
  expect(memory.next()).toHaveLength(256 * 1024)
  // One more of the first user's gets none, and goes on in little memory.
  expect(busy(room, 'mallory').next()).toHaveLength(32 * 1024)
})

test('attack: memory that the transport still needs counts as what is kept for nothing', () => {
  const room = new ReadRoom(10, 60_000)
  const memory = busy(room, 'mallory')
  memory.isHeld = () => true
  for (let read = 0; read < 40; read++) memory.read(memory.next().length, () => {})
  expect(memory.waste.isTooMuch).toBe(true)
  // It gets no further piece, so no more can be kept so.
  expect(memory.next()).toHaveLength(32 * 1024)
  expect(room.size).toBe(0)
})

async function settled(socket: Socket, bytes: () => number, wanted: number): Promise<void> {
  while (bytes() < wanted) await once(socket, 'data')
}

test('attack: connections that filled their memory and rest keep none, and read on as before', async () => {
  const before = heldBytes()
  const peers = await Promise.all(
    Array.from({ length: 12 }, async () => {
      const { client, socket } = await sockets.open()
      const memory = readMemoryOf(socket)
      if (memory !== undefined) memory.isHeld = () => false
      const kept: Buffer[] = []
      let bytes = 0
      let sum = 0
      socket.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        for (const byte of chunk) sum += byte
        const part = chunk.subarray(0, 5000)
        lend(part)
        kept.push(part)
      })
      const send = async (size: number, byte: number) => {
        const [wantedBytes, wantedSum] = [bytes + size, sum + size * byte]
        client.write(Buffer.alloc(size, byte))
        await settled(socket, () => bytes, wantedBytes)
        expect([bytes, sum]).toEqual([wantedBytes, wantedSum])
        kept.splice(0).forEach(letGo)
      }
      return { send }
    }),
  )
  for (const { send } of peers) await send(6 * mib, 1)
  // A connection that only shows a sign of life rests, too.
  await expect
    .poll(
      async () => {
        for (const { send } of peers) await send(100, 3)
        return heldBytes() - before
      },
      { interval: 300 },
    )
    .toBeLessThan(4 * mib)
  for (const byte of [5, 7]) await Promise.all(peers.map(({ send }) => send(3 * mib, byte)))
})
