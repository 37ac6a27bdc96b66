import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { Registry } from 'prom-client'
import { afterEach, expect, test } from 'vitest'
import { createHttp, forAnybody } from '../../src/http/index.ts'
import { silent } from '../support/postgres.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

const connectionsMax = 24
const readerPace = { waitMs: 500, bytesPerSecond: 16 * 1024 * 1024 }
const httpServer = () =>
  createHttp({
    listener: 'portal',
    publicUrl: 'http://portal.test',
    log: silent,
    metrics: new Registry(),
    connectionsMax,
    readerPace,
  })

const largeBytes = 64 * 1024 * 1024
const largeChunk = Buffer.alloc(64 * 1024, 'x')

/** A listener with an answer that comes at once, and one that waits until it is let go. */
async function listening() {
  const app = httpServer()
  const held = Promise.withResolvers<void>()
  let waiting = 0
  app.get('/quick', forAnybody, async () => 'quick')
  app.get('/held', forAnybody, async () => {
    waiting++
    await held.promise
    return 'held'
  })
  app.post('/form', forAnybody, async () => 'form')
  let streams = 0
  const large = () => {
    streams++
    const chunks = Array.from({ length: largeBytes / largeChunk.length }, () => largeChunk)
    return Readable.from(chunks).once('close', () => streams--)
  }
  app.get('/large', forAnybody, async () => large())
  app.get('/late', forAnybody, async (request) => {
    const stream = large()
    await once(request.raw.socket, 'close')
    return stream
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  closing.push(() => app.close())
  closing.push(() => held.resolve())
  const address = app.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  const { port } = address
  const ask = (text: string, from = '127.0.0.1') => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from }).on('error', () => {})
    closing.push(() => socket.destroy())
    socket.write(text)
    const answer = received(socket)
    return { socket, answer }
  }
  return { ask, let: () => held.resolve(), waiting: () => waiting, streams: () => streams }
}

/** All that came until the end of the connection. */
async function received(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(socket, 'close').catch(() => {})
  return Buffer.concat(chunks).toString()
}

const head = (method: string, path: string, more = '') =>
  `${method} ${path} HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\n${more}`
const whole = (path: string) => `${head('GET', path)}\r\n`

test('a route that does not say who may ask it stops the start', () => {
  expect(() => httpServer().get('/forgotten', async () => 'a secret')).toThrow(/has no right/)
})

test('attack: a request whose head never ends is cut off after ten seconds, not at the next look', async () => {
  const { ask } = await listening()
  // Node itself looks every 30 s.
  const started = performance.now()
  await ask(head('GET', '/quick')).answer
  expect(performance.now() - started).toBeLessThan(25_000)
})

test.each([
  ['say nothing', ''],
  ['send half a head', head('GET', '/quick')],
  [
    'send half a body',
    `${head('POST', '/form', 'Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n')}\r\na=`,
  ],
])('attack: connections that %s keep nobody out', async (_what, text) => {
  const { ask } = await listening()
  const slow = []
  for (let count = 0; count < connectionsMax * 2; count++) slow.push(ask(text, '127.0.0.2'))
  await sleep(200)
  for (const from of ['127.0.0.2', '127.0.0.1', '127.0.0.3']) {
    expect(await ask(whole('/quick'), from).answer, from).toContain('quick')
  }
  // The oldest made room, and no more than had to.
  expect(slow.filter(({ socket }) => !socket.closed).length).toBeGreaterThan(connectionsMax - 5)
})

test('attack: an address that has every connection answered keeps no other address out', async () => {
  const { ask, waiting } = await listening()
  for (let count = 0; count < connectionsMax; count++) ask(whole('/held'), '127.0.0.2')
  await expect.poll(waiting).toBe(connectionsMax)
  expect(await ask(whole('/quick')).answer).toContain('quick')
})

test('attack: an address whose requests are all being answered does not push out a browser that has just connected', async () => {
  const { ask, waiting } = await listening()
  for (let count = 0; count < connectionsMax; count++) ask(whole('/held'), '127.0.0.2')
  await expect.poll(waiting).toBe(connectionsMax)
  const browser = ask('')
  await once(browser.socket, 'connect')
  for (let count = 0; count < 5; count++) {
    expect(await ask(whole('/held'), '127.0.0.2').answer).toBe('')
  }
  browser.socket.write(whole('/quick'))
  expect(await browser.answer).toContain('quick')
})

test.each([2, 8])(
  'attack: %i addresses that have every connection answered keep no other address out',
  async (addresses) => {
    const { ask, waiting } = await listening()
    const from = (count: number) => `127.0.1.${1 + (count % addresses)}`
    for (let count = 0; count < connectionsMax; count++) ask(whole('/held'), from(count))
    await expect.poll(waiting).toBe(connectionsMax)
    const browser = [ask(''), ask('')]
    for (const { socket } of browser) await once(socket, 'connect')
    for (let count = 0; count < addresses; count++) {
      expect(await ask(whole('/held'), from(count)).answer).toBe('')
    }
    for (const { socket, answer } of browser) {
      socket.write(whole('/quick'))
      expect(await answer).toContain('quick')
    }
  },
)

test('attack: more addresses than connections do not push out a browser that has just connected', async () => {
  const { ask, waiting } = await listening()
  let addresses = 0
  const hold = async () => {
    addresses++
    ask(whole('/held'), `127.0.1.${addresses}`)
    await expect.poll(waiting).toBe(addresses)
  }
  while (addresses < connectionsMax) await hold()
  const browser = ask('')
  await once(browser.socket, 'connect')
  while (addresses < connectionsMax + 5) await hold()
  browser.socket.write(whole('/quick'))
  expect(await browser.answer).toContain('quick')
})

test('attack: an answer that is read a few bytes at a time ends, and one that is read steadily arrives', async () => {
  const { ask, streams } = await listening()
  const slow = ask(whole('/large'))
  slow.socket.removeAllListeners('data').pause()
  const trickle = setInterval(() => slow.socket.read(1), 50)
  closing.push(() => clearInterval(trickle))
  await expect.poll(streams).toBe(1)
  await expect.poll(streams).toBe(0)

  const steady = ask(whole('/large'))
  steady.socket.removeAllListeners('data')
  let bytes = 0
  const started = performance.now()
  for await (const chunk of steady.socket) {
    bytes += chunk.length
    if (performance.now() - started < (bytes / largeBytes) * 3000) await sleep(5)
  }
  expect(bytes).toBeGreaterThan(largeBytes)
})

test('attack: no answer is made behind one that nobody reads, and none stays when the client leaves', async () => {
  const { ask, streams, waiting } = await listening()
  const [large, held] = ['/large', '/held'].map((path) =>
    whole(path).replace('close', 'keep-alive'),
  )
  const { socket } = ask(`${large}${large}${held}${held}`)
  socket.removeAllListeners('data').pause()
  await expect.poll(streams).toBeGreaterThan(0)
  expect(await ask(whole('/quick')).answer).toContain('quick')
  expect([streams(), waiting()]).toEqual([1, 0])
  socket.destroy()
  await expect.poll(streams).toBe(0)
  expect(waiting()).toBe(0)
})

test('attack: a client that leaves before its answer begins leaves no file open', async () => {
  const { ask, streams } = await listening()
  const { socket } = ask(whole('/late'))
  await expect.poll(streams).toBe(1)
  socket.destroy()
  await expect.poll(streams).toBe(0)
})

test('requests that are sent before the first is answered are answered in their order', async () => {
  const { ask } = await listening()
  const quick = whole('/quick').replace('close', 'keep-alive')
  const { answer } = ask(quick.repeat(3) + whole('/missing'))
  expect((await answer).match(/HTTP\/1.1 \d+/g)?.map((line) => line.slice(9))).toEqual([
    '200',
    '200',
    '200',
    '404',
  ])
})

test('attack: a connection that sends requests without end before the first is answered is closed', async () => {
  const { ask, waiting } = await listening()
  const { answer } = ask(whole('/held').replace('close', 'keep-alive').repeat(10_000))
  expect(await answer).toBe('')
  expect(waiting()).toBeLessThanOrEqual(8)
  expect(await ask(whole('/quick')).answer).toContain('quick')
})

test('a request that is being answered is not cut off for another one from the same proxy', async () => {
  const { ask, waiting, let: letGo } = await listening()
  const answers = []
  for (let count = 0; count < connectionsMax; count++) answers.push(ask(whole('/held')).answer)
  await expect.poll(waiting).toBe(connectionsMax)
  expect(await ask(whole('/quick')).answer).toBe('')
  letGo()
  for (const answer of await Promise.all(answers)) expect(answer).toContain('held')
  expect(await ask(whole('/quick')).answer).toContain('quick')
})

test('the requests of two addresses that have half of the room each are not cut off for each other', async () => {
  const { ask, waiting, let: letGo } = await listening()
  const from = (count: number) => `127.0.1.${1 + (count % 2)}`
  const answers = []
  for (let count = 0; count < connectionsMax; count++) {
    answers.push(ask(whole('/held'), from(count)).answer)
  }
  await expect.poll(waiting).toBe(connectionsMax)
  for (const count of [0, 1]) expect(await ask(whole('/quick'), from(count)).answer).toBe('')
  letGo()
  for (const answer of await Promise.all(answers)) expect(answer).toContain('held')
})
