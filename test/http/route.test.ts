import { Readable } from 'node:stream'
import { afterAll, expect, test } from 'vitest'
import { z } from 'zod'
import {
  cutPage,
  describeRoutes,
  pageOf,
  pagingBy,
  routesFor,
  serveRoutes,
} from '../../src/http/index.ts'
import { createTestHttp, host } from './http-fixture.ts'

/** A listener with people of its own: whoever shows a name as the cookie is that person. */
type Right = 'thing.read' | 'thing.hide'
const route = routesFor<string, Right>()
const things = Array.from({ length: 5 }, (_, index) => `thing${index}`)
const acted: unknown[] = []

const routes = [
  route({
    method: 'GET',
    path: '/api/v1/things',
    summary: 'Things',
    right: 'thing.read',
    query: z.strictObject({
      ...pagingBy((text) => (things.includes(text) ? text : undefined)),
      colour: z.enum(['red', 'blue']).optional(),
      name: z.string().min(2).max(8).optional(),
    }),
    reply: pageOf(z.object({ name: z.string() }).meta({ id: 'Thing' })),
    async act({ query }, { person, source }) {
      acted.push({ ...query, person, source })
      const after = query.cursor === undefined ? 0 : things.indexOf(query.cursor) + 1
      const rows = things
        .slice(after, after + query.limit + 1)
        .map((name) => ({ name, secret: 'not for you' }))
      return cutPage(rows, query.limit, ({ name }) => name)
    },
  }),
  route({
    method: 'GET',
    path: '/api/v1/things/{id}',
    summary: 'One thing',
    right: 'thing.hide',
    params: z.strictObject({ id: z.string() }),
    reply: z.object({ name: z.string(), size: z.int() }),
    // A bug, as a column of another type would be.
    act: async ({ params }) => ({ name: params.id, size: 0.5 }),
  }),
  route({
    method: 'GET',
    path: '/api/v1/things/{id}/text',
    summary: 'Its text',
    right: 'thing.read',
    params: z.strictObject({ id: z.string() }),
    reply: { stream: 'text/plain' },
    act: async ({ params }) => ({
      mayGoOn: async () => true,
      stream: Readable.from(['text of ', params.id]),
      fileName: `${params.id}.txt`,
    }),
  }),
]

const { app, signIn } = createTestHttp()
serveRoutes(app, routes, {
  signIn,
  allows: (person, right) => person === 'boss' || right === 'thing.read',
})
afterAll(() => app.close())

async function get(path: string, person?: string) {
  const cookie = person === undefined ? {} : { cookie: `test=${person}` }
  const { statusCode, headers, body } = await app.inject({
    method: 'GET',
    url: path,
    headers: { host, ...cookie },
  })
  return { statusCode, headers, body }
}

const errorOf = ({ body }: { body: string }) => JSON.parse(body).error

test('an answer has the fields of its shape, and no other', async () => {
  const { statusCode, headers, body } = await get('/api/v1/things?limit=2', 'ada')
  expect(statusCode).toBe(200)
  expect(headers['content-type']).toBe('application/json; charset=utf-8')
  expect(JSON.parse(body)).toEqual({
    items: [{ name: 'thing0' }, { name: 'thing1' }],
    next: expect.any(String),
  })
})

test('the cursor of each page leads to the next one, and the last has none', async () => {
  const seen: string[] = []
  let next: string | null = ''
  while (next !== null) {
    const query = next === '' ? '' : `&cursor=${next}`
    const page = JSON.parse((await get(`/api/v1/things?limit=2${query}`, 'ada')).body)
    seen.push(...page.items.map((item: { name: string }) => item.name))
    next = page.next
  }
  expect(seen).toEqual(things)
  const whole = JSON.parse((await get('/api/v1/things?limit=5', 'ada')).body)
  expect(whole.next).toBeNull()
})

test('an act gets the parts as its route reads them, with the person and the address', async () => {
  acted.length = 0
  await get('/api/v1/things?colour=red', 'ada')
  expect(acted).toEqual([{ limit: 50, colour: 'red', person: 'ada', source: '127.0.0.1' }])
})

test.each([
  ['limit=0', 'query.limit is not from 1 to 200'],
  ['limit=201', 'query.limit is not from 1 to 200'],
  ['limit=1e1', 'query.limit has the wrong form'],
  ['limit=', 'query.limit has the wrong form'],
  ['limit=1&limit=2', 'query.limit has the wrong form'],
  ['cursor=YW55', 'query.cursor is not the `next` of a page of this list'],
  ['cursor=%00', 'query.cursor has the wrong form'],
  ['colour=green', 'query.colour is none of red, blue'],
  ['name=x', 'query.name has fewer than 2 characters'],
  ['name=xxxxxxxxx', 'query.name has more than 8 characters'],
  ['unknown=secret-value', 'query.unknown is not a field of this request'],
  ['__proto__=1', 'query.__proto__ is not a field of this request'],
])('a wrong part is refused by its name: %s', async (query, message) => {
  acted.length = 0
  const refused = await get(`/api/v1/things?${query}`, 'ada')
  expect(refused.statusCode).toBe(400)
  expect(errorOf(refused)).toMatchObject({ code: 'ERR_REQUEST_INVALID', message })
  expect(refused.body).not.toContain('secret-value')
  expect(acted).toEqual([])
})

test('the person comes before the right, and the right before the request', async () => {
  const path = '/api/v1/things/a?unknown=1'
  expect(errorOf(await get(path)).code).toBe('ERR_SIGN_IN_REQUIRED')
  const refused = await get(path, 'ada')
  expect([refused.statusCode, errorOf(refused).code]).toEqual([403, 'ERR_RIGHT_MISSING'])
  expect((await get(path, 'boss')).statusCode).toBe(400)
})

test('attack: nothing of an answer without its shape leaves', async () => {
  const { statusCode, body } = await get('/api/v1/things/planted', 'boss')
  expect(statusCode).toBe(500)
  expect(errorOf({ body }).code).toBe('ERR_INTERNAL')
  expect(body).not.toContain('planted')
})

test('a stream has its media type and a name', async () => {
  const { statusCode, headers, body } = await get('/api/v1/things/a/text', 'ada')
  expect([statusCode, body]).toEqual([200, 'text of a'])
  expect(headers['content-type']).toBe('text/plain')
  expect(headers['content-disposition']).toBe('inline; filename="a.txt"')
})

test('the document follows from the routes', () => {
  const document = JSON.parse(
    JSON.stringify(describeRoutes(routes, { title: 'T', cookie: 'test' })),
  )
  expect(Object.keys(document.paths)).toEqual(routes.map(({ path }) => path))
  const { get: list } = document.paths['/api/v1/things']
  expect(list['x-right']).toBe('thing.read')
  const [limit, cursor, colour] = list.parameters
  expect(limit).toMatchObject({ name: 'limit', in: 'query', required: false })
  expect(cursor).toMatchObject({ name: 'cursor', required: false })
  expect(colour.schema).toEqual({ type: 'string', enum: ['red', 'blue'] })
  const answer = list.responses[200].content['application/json'].schema
  expect(answer.properties.items.items).toEqual({ $ref: '#/components/schemas/Thing' })
  expect(document.components.schemas.Thing).toMatchObject({ additionalProperties: false })
  const { get: one } = document.paths['/api/v1/things/{id}']
  expect(one.parameters).toEqual([
    { name: 'id', in: 'path', required: true, schema: { type: 'string' } },
  ])
  const { get: text } = document.paths['/api/v1/things/{id}/text']
  expect(text.responses[200].content).toEqual({ 'text/plain': { schema: { type: 'string' } } })
})
