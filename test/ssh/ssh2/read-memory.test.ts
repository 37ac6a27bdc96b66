import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import { lend, letGo, ReadMemory } from '../../../src/ssh/ssh2/read-memory.ts'
import { readFor, readMemoryOf } from '../../../src/ssh/ssh2/sockets.ts'
import { AdoptedSockets } from '../../support/adopted-sockets.ts'

const sockets = new AdoptedSockets()
const open: (() => void)[] = []
afterEach(() => {
  sockets[Symbol.dispose]()
  for (const close of open.splice(0)) close()
})

const adopted = () => sockets.open()

test('reads an accepted connection into memory of its own, and writes to it', async () => {
  const { client, socket } = await adopted()
  expect(readMemoryOf(socket)).toBeDefined()
  const sent = randomBytes(5_000_000)
  const hash = createHash('sha256')
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    bytes += chunk.length
  })
  const ended = once(socket, 'end')
  client.end(sent)
  socket.write('hello')
  expect(String(await once(client, 'data'))).toBe('hello')
  await ended
  expect(bytes).toBe(sent.length)
  expect(hash.digest('hex')).toBe(createHash('sha256').update(sent).digest('hex'))
  socket.end()
  await once(client, 'close')
})

test('hears that an adopted connection was reset', async () => {
  const { client, socket } = await adopted()
  const { promise: failed, resolve } = Promise.withResolvers<NodeJS.ErrnoException>()
  socket.on('error', resolve)
  socket.resume()
  client.resetAndDestroy()
  expect((await failed).code).toBe('ECONNRESET')
})

test('takes much memory for those only who are in and send much', () => {
  const memory = new ReadMemory()
  let isIn = false
  memory.isHeld = () => !isIn
  expect(memory.next()).toHaveLength(32 * 1024)
  // Attack: before the login, sending much gets nobody more.
  memory.read(32 * 1024, () => {})
  expect(memory.next()).toHaveLength(32 * 1024)
  isIn = true
  expect(memory.next()).toHaveLength(256 * 1024)
  const quiet = new ReadMemory()
  quiet.isHeld = () => false
  quiet.next()
  quiet.read(100, () => {})
  expect(quiet.next()).toHaveLength(32 * 1024)
})

/** As packets of one byte do: the work is large for the number of bytes. */
function work(bytes: number): void {
  const endMs = performance.now() + bytes / 1000
  while (performance.now() < endMs);
}

test('attack: a socket whose bytes are much work lets the others go first', async () => {
  const { client, socket } = await adopted()
  const total = 800_000
  let bytes = 0
  let inTurn = 0
  const turns: number[] = []
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    inTurn += chunk.length
    work(chunk.length)
  })
  const ended = once(socket, 'end')
  client.end(Buffer.alloc(total))
  while (bytes < total) {
    await new Promise((done) => setImmediate(done))
    if (inTurn > 0) turns.push(inTurn)
    inTurn = 0
  }
  await ended
  expect(bytes).toBe(total)
  // The first reads are long, because nobody knows their cost. 8,000 bytes are the work of a turn.
  const later = turns.slice(5, -1)
  expect(later.length).toBeGreaterThan(15)
  expect(later.toSorted((a, b) => a - b)[Math.floor(later.length / 2)]).toBeLessThan(40_000)
})

test('attack: a user with many busy sockets delays another user by a few reads', async () => {
  let works = 0
  const hostile = await Promise.all(Array.from({ length: 60 }, adopted))
  const { client, socket } = await adopted()
  for (const { client, socket } of hostile) {
    readFor(socket, { tenant: 'one', user: 'mallory' })
    socket.on('data', () => {
      works++
      work(10_000)
    })
    client.on('error', () => {}).write(Buffer.alloc(2_000_000))
  }
  readFor(socket, { tenant: 'two', user: 'victor' })
  const between: number[] = []
  socket.on('data', () => {
    between.push(works)
    works = 0
    socket.write('.')
  })
  for (let question = 0; question < 6; question++) {
    client.write('?')
    await once(client, 'data')
  }
  // A question and its answer take some turns of the loop, for both ends are here.
  expect(Math.max(...between.slice(1))).toBeLessThan(30)
  expect(Math.min(...between.slice(1))).toBeGreaterThan(0)
})

test('a read that has to wait is not lost, and no read comes before it', async () => {
  const { client, socket } = await adopted()
  const other = await adopted()
  const hash = createHash('sha256')
  const sent = randomBytes(1_500_000)
  const memory = readMemoryOf(socket)
  if (memory !== undefined) memory.isHeld = () => false
  let reads = 0
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk)
    // As somebody may who does not know that one waits.
    if (reads++ % 2 === 0) setImmediate(() => socket.resume())
  })
  other.socket.on('data', () => work(40_000))
  const writes = setInterval(() => other.client.write('.'), 20)
  open.push(() => clearInterval(writes))
  const ended = once(socket, 'end')
  client.end(sent)
  await ended
  expect(hash.digest('hex')).toBe(createHash('sha256').update(sent).digest('hex'))
})

test('attack: an end is told after what came before it, though somebody resumed the reading', async () => {
  const { client, socket } = await adopted()
  const told: string[] = []
  socket.on('data', () => told.push('data'))
  const ended = once(socket, 'end').then(() => told.push('end'))
  // They take the time of some turns, and ours waits behind them.
  const others = await Promise.all(Array.from({ length: 6 }, adopted))
  const goOn = () => {
    socket.resume()
    if (!told.includes('end')) setImmediate(goOn)
  }
  let isSent = false
  for (const other of others) {
    other.socket.once('data', () => {
      if (!isSent) client.end('x')
      isSent = true
      setImmediate(goOn)
      work(40_000)
    })
    other.client.write('.')
  }
  await ended
  expect(told).toEqual(['data', 'end'])
})

test('a socket that somebody paused stays so, and goes on when they say', async () => {
  const { client, socket } = await adopted()
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    work(9000)
    socket.pause()
  })
  client.end(Buffer.alloc(300_000))
  await expect.poll(() => bytes).toBeGreaterThan(0)
  const before = bytes
  for (let turn = 0; turn < 20; turn++) await new Promise((done) => setImmediate(done))
  expect(bytes).toBe(before)
  const ended = once(socket, 'end')
  const goOn = setInterval(() => socket.resume(), 1)
  open.push(() => clearInterval(goOn))
  await ended
  expect(bytes).toBe(300_000)
})

test('uses memory again once each of its chunks was let go, and no sooner', () => {
  const memory = new ReadMemory()
  memory.isHeld = () => false
  memory.next()
  memory.read(32 * 1024, () => {})
  const first = memory.next()
  const chunks: Buffer[] = []
  memory.read(100_000, (read) => {
    for (let at = 0; at < 100_000; at += 20_000) chunks.push(read.subarray(at, at + 20_000))
    chunks.forEach(lend)
  })
  const second = memory.next()
  expect(second.byteOffset).toBe(first.byteOffset + 100_000)
  const [one = first, ...others] = chunks
  // Attack: one chunk that is let go often stands for no other one, and a part of one for none.
  for (const _ of chunks) letGo(one)
  for (const chunk of others) letGo(chunk.subarray(0))
  expect(memory.next().byteOffset).toBe(second.byteOffset)
  others.forEach(letGo)
  const third = memory.next()
  expect(third.buffer).toBe(first.buffer)
  expect(third.byteOffset).toBe(first.byteOffset)
})
