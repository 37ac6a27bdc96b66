import { afterAll, expect, test } from 'vitest'
import { z } from 'zod'
import {
  describeRoutes,
  type Once,
  routesFor,
  serveOpenRoutes,
  serveRoutes,
} from '../../src/http/index.ts'
import { RateLimit } from '../../src/http/rate-limit.ts'
import { VaultSealed } from '../../src/vault/index.ts'
import { createTestHttp, host } from './http-fixture.ts'

/** A listener with people of its own: whoever shows a name as the cookie is that person. */
type Purpose = 'thing.burn'
const route = routesFor<string, 'thing', Purpose>()
const acted: unknown[] = []
const proofs = new Set<string>()

const routes = [
  route({
    method: 'DELETE',
    path: '/api/v1/things/{id}',
    summary: 'Burn a thing',
    right: 'thing',
    stepUp: 'thing.burn',
    params: z.strictObject({ id: z.string().max(8) }),
    reply: 'nothing',
    async act({ params }, { person, stepUp, device }) {
      acted.push({ burnt: params.id, person, stepUp, device })
      return undefined
    },
  }),
  route({
    method: 'PATCH',
    path: '/api/v1/things/{id}',
    summary: 'Change a thing',
    right: 'thing',
    params: z.strictObject({ id: z.string() }),
    body: z.strictObject({ name: z.string() }),
    reply: z.object({ name: z.string() }),
    act: async ({ body }) => body,
  }),
  route({
    method: 'POST',
    path: '/api/v1/things',
    summary: 'Make a thing',
    right: 'thing',
    once: true,
    body: z.strictObject({ name: z.string() }),
    reply: z.object({ key: z.string() }),
    statuses: [201],
    async act(_asked, { once }) {
      onces.push(once)
      return { key: once?.key ?? '' }
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/rare',
    summary: 'Rare',
    right: 'thing',
    limit: { times: 2, seconds: 600 },
    reply: z.object({}),
    act: async () => ({}),
  }),
  route({
    method: 'GET',
    path: '/api/v1/sealed',
    summary: 'Sealed',
    right: 'thing',
    reply: z.object({}),
    act: () => Promise.reject(new VaultSealed()),
  }),
]
const onces: (Once | undefined)[] = []

const { app, signIn } = createTestHttp()
serveRoutes(app, routes, {
  signIn,
  allows: (person) => person !== 'guest',
  stepUp: async (person, purpose) => (proofs.has(`${person} ${purpose}`) ? 'passkey' : undefined),
})
const open = routesFor<undefined, 'anybody'>()
const openRoutes = [
  open({
    method: 'POST',
    path: '/api/v1/knock',
    summary: 'Sign in',
    right: 'anybody',
    limit: { times: 3, seconds: 600 },
    body: z.strictObject({ cookie: z.string() }),
    reply: 'nothing',
    async act({ body }, { enter }) {
      await enter(body.cookie)
      return undefined
    },
  }),
]
serveOpenRoutes(app, openRoutes, { signIn })
afterAll(() => app.close())

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE' | 'PUT'
interface Asking {
  readonly person?: string
  readonly body?: object
  readonly headers?: Record<string, string>
  readonly from?: string
}
async function ask(method: Method, url: string, { person, body, headers, from }: Asking = {}) {
  const answer = await app.inject({
    method,
    url,
    headers: { host, ...(person === undefined ? {} : { cookie: `test=${person}` }), ...headers },
    remoteAddress: from ?? '127.0.0.1',
    ...(body === undefined ? {} : { payload: body }),
  })
  const error = answer.body === '' ? undefined : JSON.parse(answer.body).error
  return { status: answer.statusCode, error, headers: answer.headers, body: answer.body }
}

test('an act with a purpose needs a proof for just that, after the input was read', async () => {
  acted.length = 0
  const url = '/api/v1/things/a'
  expect((await ask('DELETE', url)).status).toBe(401)
  expect((await ask('DELETE', url, { person: 'guest' })).status).toBe(403)
  expect((await ask('DELETE', `${url}?x=1`, { person: 'ada' })).status).toBe(400)
  const refused = await ask('DELETE', url, { person: 'ada' })
  expect(refused.status).toBe(428)
  expect(refused.error).toMatchObject({ code: 'ERR_STEP_UP_REQUIRED', purpose: 'thing.burn' })
  expect(refused.error.message).toContain('thing.burn')
  expect(acted).toEqual([])
  proofs.add('bob thing.burn').add('ada thing.make')
  expect((await ask('DELETE', url, { person: 'ada' })).status).toBe(428)
  proofs.add('ada thing.burn')
  const headers = { 'user-agent': `Fire\tfox ${'x'.repeat(300)}` }
  const done = await ask('DELETE', url, { person: 'ada', headers })
  expect([done.status, done.body]).toEqual([204, ''])
  const device = `Fire?fox ${'x'.repeat(247)}`
  expect(acted).toEqual([{ burnt: 'a', person: 'ada', stepUp: 'passkey', device }])
})

test('a method that an address does not have is 405, with those that it has', async () => {
  const refused = await ask('PUT', '/api/v1/things/a', { person: 'ada' })
  expect([refused.status, refused.headers.allow]).toEqual([405, 'DELETE, PATCH'])
  expect(refused.error.code).toBe('ERR_METHOD_NOT_ALLOWED')
  expect((await ask('GET', '/api/v1/things')).headers.allow).toBe('POST')
  for (const url of ['/api/v1/things/', '/api/v1/things/a/b', '/api/v1/other', '/api/v1']) {
    expect((await ask('PUT', url, { person: 'ada' })).status, url).toBe(404)
  }
})

test('a request that is done once needs a key, and has a digest of all its parts', async () => {
  const make = (key: string | undefined, name = 'a') =>
    ask('POST', '/api/v1/things', {
      person: 'ada',
      body: { name },
      headers: key === undefined ? {} : { 'idempotency-key': key },
    })
  for (const wrong of [undefined, '', 'short', 'a'.repeat(65), `${'a'.repeat(16)};`]) {
    const refused = await make(wrong)
    expect([refused.status, refused.error.message]).toEqual([
      400,
      'header.idempotency-key must have 16 to 64 of a-z, A-Z, 0-9, _ and -',
    ])
  }
  onces.length = 0
  const key = 'k'.repeat(16)
  expect((await make(key)).status).toBe(201)
  await make(key)
  await make(key, 'b')
  const digests = onces.map((once) => once?.digest.toString('hex'))
  expect(digests[0]).toBe(digests[1])
  expect(digests[2]).not.toBe(digests[0])
  expect(onces.map((once) => once?.digest.length)).toEqual([32, 32, 32])
})

test('a person may do it so often, and is told when again; another person may too', async () => {
  const rare = (person: string, from?: string) =>
    ask('GET', '/api/v1/rare', from === undefined ? { person } : { person, from })
  expect((await rare('ada')).status).toBe(200)
  expect((await rare('ada', '192.0.2.1')).status).toBe(200)
  const refused = await rare('ada', '192.0.2.2')
  expect([refused.status, refused.error.code]).toEqual([429, 'ERR_TOO_OFTEN'])
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(290)
  expect((await rare('bob')).status).toBe(200)
})

test('attack: strangers at one address are refused before anything is looked up, and lock nobody out elsewhere', async () => {
  const knock = (from: string) => ask('POST', '/api/v1/knock', { body: { cookie: 'ada' }, from })
  const statuses = []
  for (let count = 0; count < 5; count++) statuses.push((await knock('2001:db8::1')).status)
  expect(statuses).toEqual([204, 204, 204, 429, 429])
  // The same customer, at another of their addresses.
  expect((await knock('2001:db8::ffff:2')).status).toBe(429)
  expect((await knock('2001:db8:0:1::1')).status).toBe(204)
})

test('a sign-in puts its cookie into the browser', async () => {
  const from = '192.0.2.9'
  const { headers } = await ask('POST', '/api/v1/knock', { body: { cookie: 'eve' }, from })
  expect(headers['set-cookie']).toBe('test=eve; Path=/; HttpOnly; SameSite=Strict')
})

test('attack: a page of another site signs nobody in, and has nothing done', async () => {
  for (const headers of [{ origin: 'http://evil.test' }, { 'sec-fetch-site': 'same-site' }]) {
    const knocked = await ask('POST', '/api/v1/knock', {
      body: { cookie: 'eve' },
      headers: headers as unknown as Record<string, string>,
      from: '192.0.2.8',
    })
    expect([knocked.status, knocked.headers['set-cookie']]).toEqual([403, undefined])
    const burnt = await ask('DELETE', '/api/v1/things/b', {
      person: 'ada',
      headers: headers as unknown as Record<string, string>,
    })
    expect(burnt.error.code).toBe('ERR_CROSS_ORIGIN')
  }
})

test('a sealed vault is 423, and says how it opens', async () => {
  const { status, error } = await ask('GET', '/api/v1/sealed', { person: 'ada' })
  expect([status, error.code]).toEqual([423, 'ERR_VAULT_SEALED'])
  expect(error.message).toContain('vaultterm vault unseal')
})

test('a limit gives back evenly, and forgets who has all of it again', () => {
  let now = 0
  const limit = new RateLimit({ times: 4, seconds: 8 }, () => now)
  expect([1, 2, 3, 4].map(() => limit.take('a'))).toEqual([0, 0, 0, 0])
  expect(limit.take('a')).toBe(2)
  now = 1999
  expect(limit.take('a')).toBe(1)
  now = 2000
  expect([limit.take('a'), limit.take('a')]).toEqual([0, 2])
  now = 20_000
  expect([1, 2, 3, 4, 5].map(() => limit.take('a'))).toEqual([0, 0, 0, 0, 2])
})

test('the document tells of keys, proofs, and answers without a body', () => {
  const all = [...openRoutes, ...routes]
  const { paths } = JSON.parse(JSON.stringify(describeRoutes(all, { title: 'T', cookie: 'test' })))
  const { delete: burn } = paths['/api/v1/things/{id}']
  expect(burn['x-step-up']).toBe('thing.burn')
  expect(burn.responses[204]).toEqual({ description: 'Burn a thing' })
  expect(burn.responses[428]).toBeDefined()
  const { post } = paths['/api/v1/things']
  expect(post.parameters).toMatchObject([{ name: 'Idempotency-Key', in: 'header', required: true }])
  expect(paths['/api/v1/knock'].post.security).toEqual([])
})
