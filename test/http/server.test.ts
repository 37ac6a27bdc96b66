import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
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
const httpServer = () =>
  createHttp({
    listener: 'portal',
    publicUrl: 'http://portal.test',
    log: silent,
    metrics: new Registry(),
    connectionsMax,
  })

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
  return { ask, let: () => held.resolve(), waiting: () => waiting }
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
  const started = performance.now()
  await ask(head('GET', '/quick')).answer
  expect(performance.now() - started).toBeLessThan(14_000)
}, 60_000)

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
