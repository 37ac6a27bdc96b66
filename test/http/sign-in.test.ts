import { once } from 'node:events'
import { connect } from 'node:net'
import { Registry } from 'prom-client'
import { afterEach, expect, test } from 'vitest'
import { createHttp, createSignIn, forAnybody } from '../../src/http/index.ts'
import { silent } from '../support/postgres.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

test('attack: a client that leaves while its cookie is looked up has no work done for it', async () => {
  const app = createHttp({
    listener: 'portal',
    publicUrl: 'http://portal.test',
    log: silent,
    metrics: new Registry(),
  })
  const lookedUp = Promise.withResolvers<string>()
  let lookups = 0
  const signIn = createSignIn<string>({
    sessions: {
      redeem: async () => undefined,
      session: () => {
        lookups++
        return lookedUp.promise
      },
      end: async () => {},
    },
    cookie: 'test',
    https: false,
    howTo: '',
    ownerOf: (user) => ({ tenant: 'acme', user }),
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
  await app.listen({ host: '127.0.0.1', port: 0 })
  closing.push(() => app.close())
  const address = app.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  const ask = () => {
    const socket = connect({ port: address.port, host: '127.0.0.1' }).on('error', () => {})
    closing.push(() => socket.destroy())
    socket.write('GET /work HTTP/1.1\r\nHost: portal.test\r\nCookie: test=abc\r\n\r\n')
    return socket
  }

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
  const app = createHttp({
    listener: 'portal',
    publicUrl: 'http://portal.test',
    log: silent,
    metrics: new Registry(),
  })
  const signIn = createSignIn<string>({
    sessions: {
      redeem: async () => undefined,
      session: async (cookie) => cookie,
      end: async () => {},
    },
    cookie: 'test',
    https: false,
    howTo: '',
    ownerOf: (user) => ({ tenant: 'acme', user }),
  })
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
  await app.listen({ host: '127.0.0.1', port: 0 })
  closing.push(() => app.close())
  const address = app.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  const ask = (path: string, user: string) => {
    const socket = connect({ port: address.port, host: '127.0.0.1' }).on('error', () => {})
    closing.push(() => socket.destroy())
    socket.write(`GET ${path} HTTP/1.1\r\nHost: portal.test\r\nCookie: test=${user}\r\n\r\n`)
    return socket
  }
  const statusOf = async (path: string, user: string) => {
    const socket = ask(path, user)
    const [head] = await once(socket, 'data')
    socket.destroy()
    return /^HTTP\/1\.1 (\d+)/.exec(String(head))?.[1]
  }

  const unread = Array.from({ length: 32 }, () => ask('/large', 'mallory').pause())
  await expect.poll(() => made).toBe(32)
  expect(await statusOf('/large', 'mallory')).toBe('429')
  expect(made).toBe(32)
  expect(await statusOf('/large?small', 'alice')).toBe('200')
  for (const socket of unread) socket.destroy()
  await expect.poll(() => statusOf('/large?small', 'mallory')).toBe('200')
})
