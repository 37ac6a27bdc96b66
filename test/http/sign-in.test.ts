import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { afterEach, expect, test } from 'vitest'
import { forAnybody } from '../../src/http/index.ts'
import { createTestHttp, host } from './http-fixture.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

/** Listens until the end of the test. The answer sends a request on a connection of its own. */
async function listen(app: FastifyInstance): Promise<(path: string, cookie: string) => Socket> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  closing.push(() => app.close())
  const address = app.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  return (path, cookie) => {
    const socket = connect({ port: address.port, host: '127.0.0.1' }).on('error', () => {})
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
