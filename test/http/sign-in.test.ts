import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { afterEach, expect, test } from 'vitest'
import { forAnybody } from '../../src/http/index.ts'
import { createLog } from '../../src/log.ts'
import { createTestHttp, host } from './http-fixture.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

/** Listens until the end of the test. The answer sends a request on a connection of its own. */
async function listen(
  app: FastifyInstance,
): Promise<(path: string, cookie: string, from?: string) => Socket> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  closing.push(() => app.close())
  const address = app.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return (path, cookie, from = '127.0.0.1') => {
    const socket = connect({ port: address.port, host: '127.0.0.1', localAddress: from })
    socket.on('error', () => {})
    closing.push(() => socket.destroy())
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\nCookie: test=${cookie}\r\n\r\n`)
    return socket
  }
}

test('attack: a client that leaves while its cookie is looked up has no work done for it', async () => {
  const lookedUp = Promise.withResolvers<string>()
  let lookups = 0
  const { app, signIn } = createTestHttp(() => {
    lookups++
    return lookedUp.promise
  })
  let worked = 0
  app.get(
    '/work',
    forAnybody,
    signIn.guarded(async () => {
      worked++
      return 'done'
    }),
  )
  const get = await listen(app)
  const ask = () => get('/work', 'abc')

  const leaving = ask()
  await expect.poll(() => lookups).toBe(1)
  leaving.destroy()
  const connections = () =>
    new Promise((resolve) => app.server.getConnections((_err, count) => resolve(count)))
  await expect.poll(connections).toBe(0)
  const answer = once(ask(), 'data')
  await expect.poll(() => lookups).toBe(2)
  lookedUp.resolve('alice')
  await answer
  expect(worked).toBe(1)
})

test('attack: one person cannot make more answers than they read', async () => {
  const { app, signIn } = createTestHttp()
  const large = 'x'.repeat(8 * 1024 * 1024)
  let made = 0
  app.get(
    '/large',
    forAnybody,
    signIn.guarded(async (_person, request) => {
      if (request.url.endsWith('?small')) return 'small'
      made++
      return large
    }),
  )
  const ask = await listen(app)
  const statusOf = async (path: string, user: string) => {
    const socket = ask(path, user)
    const [head] = await once(socket, 'data')
    socket.destroy()
    return /^HTTP\/1\.1 (\d+)/.exec(String(head))?.[1]
  }

  const unread = []
  // Some at a time: all of them would wait too long for their turn on a busy machine.
  for (let count = 0; count < 32; count += 8) {
    for (let one = 0; one < 8; one++) unread.push(ask('/large', 'mallory').pause())
    await expect.poll(() => made).toBe(count + 8)
  }
  expect(await statusOf('/large', 'mallory')).toBe('429')
  expect(made).toBe(32)
  expect(await statusOf('/large?small', 'alice')).toBe('200')
  for (const socket of unread) socket.destroy()
  await expect.poll(() => statusOf('/large?small', 'mallory')).toBe('200')
})

test('attack: the look-ups of strangers with many addresses do not stand before a known one', async () => {
  const waiting: (() => void)[] = []
  const { app, signIn } = createTestHttp((cookie) =>
    cookie === 'alice'
      ? Promise.resolve(cookie)
      : new Promise((resolve) => waiting.push(() => resolve(undefined))),
  )
  app.get(
    '/work',
    forAnybody,
    signIn.guarded(async () => 'done'),
  )
  const ask = await listen(app)
  const answered = async (socket: Socket) => String((await once(socket, 'data'))[0])
  expect(await answered(ask('/work', 'alice', '127.0.0.2'))).toContain('200 OK')
  for (let at = 1; at <= 60; at++) ask('/work', 'invented', `127.0.${at}.3`)
  await expect.poll(() => waiting.length).toBeGreaterThan(1)
  // None of theirs is answered meanwhile.
  for (let round = 0; round < 3; round++) {
    expect(await answered(ask('/work', 'alice', '127.0.0.2'))).toContain('200 OK')
  }
  expect(waiting.length).toBeLessThan(4)
  for (let at = 0; at < 60; at++) {
    await expect.poll(() => waiting.length).toBeGreaterThan(at)
    waiting[at]?.()
  }
})

test('attack: a client that leaves in the middle of its body is no failure of ours', async () => {
  const lines: string[] = []
  const log = createLog('warn', { write: (line) => void lines.push(line) })
  const { app, signIn } = createTestHttp(undefined, log)
  app.post(
    '/work',
    forAnybody,
    signIn.open(async () => 'done'),
  )
  await listen(app)
  const address = app.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  for (let round = 0; round < 5; round++) {
    const socket = connect({ port: address.port, host: '127.0.0.1' }).on('error', () => {})
    socket.write(
      `POST /work HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"`,
    )
    await sleep(50)
    socket.resetAndDestroy()
  }
  await sleep(200)
  expect(lines).toEqual([])
})
