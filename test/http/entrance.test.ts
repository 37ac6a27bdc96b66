import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Registry } from 'prom-client'
import { afterEach, expect, test } from 'vitest'
import { createHttp, forAnybody, type HttpOptions } from '../../src/http/index.ts'
import { workedMs } from '../../src/work-share.ts'
import { silent } from '../support/postgres.ts'
import { createTestHttp, host } from './http-fixture.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

const head = (line: string, more = '') => `${line} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`
const quick = head('GET /quick')
const last = (path: string) => head(`GET ${path}`, 'Connection: close\r\n')

type Server = ReturnType<typeof createHttp>

/** Opens it; the answer makes connections to it. */
async function open(app: Server) {
  await app.listen({ host: '127.0.0.1', port: 0 })
  closing.push(() => app.close())
  const address = app.server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  const { port } = address
  return (text: string, from = '127.0.0.1') => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from }).on('error', () => {})
    closing.push(() => socket.destroy())
    let came = ''
    socket.on('data', (chunk) => {
      came += chunk
    })
    socket.write(text)
    return { socket, came: () => came, answer: whole(socket, () => came) }
  }
}

async function whole(socket: Socket, came: () => string): Promise<string> {
  await once(socket, 'close').catch(() => {})
  return came()
}

/** A listener with an answer that comes at once, and one that waits until it is let go. */
async function listening(options: Partial<HttpOptions> = {}) {
  const metrics = new Registry()
  const publicUrl = `http://${host}`
  const app = createHttp({ listener: 'portal', publicUrl, log: silent, metrics, ...options })
  const held = Promise.withResolvers<void>()
  closing.push(() => held.resolve())
  let waiting = 0
  app.get('/quick', forAnybody, async () => 'quick')
  app.get('/echo/:text', forAnybody, async (request) => request.params)
  app.post('/form', forAnybody, async (request) => `form ${request.body}`)
  app.get('/held', forAnybody, async () => {
    waiting++
    await held.promise
    return 'held'
  })
  return { ask: await open(app), metrics, waiting: () => waiting, let: () => held.resolve() }
}

/** The most work of one turn of the event loop, until `isOver`. */
async function longestTurn(isOver: () => boolean): Promise<number> {
  let longest = 0
  while (!isOver()) {
    const before = workedMs()
    await new Promise((resolve) => setImmediate(resolve))
    longest = Math.max(longest, workedMs() - before)
  }
  return longest
}

function burn(ms: number): void {
  const until = workedMs() + ms
  while (workedMs() < until);
}

test.each([
  ['requests', quick],
  ['requests with an expectation', head('GET /quick', 'Expect: x\r\n')],
  ['requests with a malformed path', head('GET /%zz')],
  ['requests without a host', 'GET / HTTP/1.1\r\n\r\n'],
])('attack: thousands of %s that come at once hold up nothing else', async (_what, request) => {
  const { ask } = await listening()
  expect(await ask(last('/quick')).answer).toContain('quick')
  const flood = Array.from({ length: 30 }, () => ask(request.repeat(65_536 / request.length)))
  const before = workedMs()
  const longest = await longestTurn(() => flood.every(({ socket }) => socket.closed))
  // Some seconds, if all that comes is parsed.
  expect(workedMs() - before).toBeLessThan(800)
  expect(longest).toBeLessThan(150)
  expect(await ask(last('/quick')).answer).toContain('quick')
})

test('attack: strangers at a hundred addresses do not make a signed-in person wait for them all', async () => {
  const { app, signIn } = createTestHttp()
  let strangers = 0
  app.get('/slow', forAnybody, async () => {
    strangers++
    burn(5)
    return 'slow'
  })
  app.get(
    '/own',
    forAnybody,
    signIn.guarded(async (person) => `${person} after ${strangers}`),
  )
  const ask = await open(app)
  const own = head('GET /own', 'Cookie: test=ada\r\n')
  const person = ask(own)
  await expect.poll(person.came).toContain('ada after 0')
  const none = head('GET /none')
  const others = Array.from({ length: 100 }, (_, count) => ask(none, `127.0.1.${count + 1}`))
  await expect.poll(() => others.filter(({ came }) => came() !== '')).toHaveLength(100)
  for (const { socket } of others) socket.write(head('GET /slow'))
  person.socket.write(own)
  const answers = () => [...person.came().matchAll(/ada after (\d+)/g)].map(([, count]) => count)
  await expect.poll(answers).toHaveLength(2)
  expect(Number(answers()[1])).toBeLessThan(50)
})

/** Opens connections of as many networks, which have eight requests of 5 ms waiting at any time. */
async function besiege(ask: Awaited<ReturnType<typeof open>>, networks: number) {
  const slow = head('GET /slow', `X-Long: ${'x'.repeat(100)}\r\n`)
  const all = Array.from({ length: networks }, (_, count) =>
    ask(slow.repeat(8), `127.2.${count}.1`),
  )
  const refill = setInterval(() => {
    for (const { socket } of all) if (socket.writableLength < 1024) socket.write(slow)
  }, 100)
  closing.push(() => clearInterval(refill))
  return all
}

test('attack: strangers in sixty networks keep no newcomer waiting: not a browser, not a signed-in person, not a probe', async () => {
  const { app, signIn } = createTestHttp()
  let strangers = 0
  app.get('/slow', forAnybody, async () => {
    strangers++
    burn(5)
    return 'slow'
  })
  app.get('/health', forAnybody, async () => 'alive')
  app.get(
    '/own',
    forAnybody,
    signIn.guarded(async (person) => `own ${person}`),
  )
  const ask = await open(app)
  await besiege(ask, 60)
  // All of them have come: who comes at the same moment is a newcomer as well.
  await expect.poll(() => strangers, { timeout: 20_000 }).toBeGreaterThan(80)
  const before = strangers
  const own = head('GET /own', 'Connection: close\r\nCookie: test=ada\r\n')
  for (const [text, from, answer] of [
    [last('/health'), '127.0.0.1', 'alive'],
    [own, '127.3.1.1', 'own ada'],
    [last('/health'), '127.3.2.1', 'alive'],
  ] as const) {
    expect(await ask(text, from).answer).toContain(answer)
  }
  // A cycle of them for each request would be three times sixty.
  expect(strangers - before).toBeLessThan(90)
}, 30_000)

test('attack: one address that sends eight requests at a time has one of them in its turn', async () => {
  const { app } = createTestHttp()
  const order: string[] = []
  app.get('/by/:name', forAnybody, async (request) => {
    const { name } = request.params as { readonly name: string }
    order.push(name)
    burn(5)
    return name
  })
  const ask = await open(app)
  const both = ['a', 'b'].map((name, count) =>
    ask(head(`GET /by/${name}`).repeat(7) + last(`/by/${name}`), `127.0.${count + 1}.1`),
  )
  for (const { answer } of both) await answer
  expect(order).toHaveLength(16)
  expect(new Set(order.slice(0, 6)).size).toBe(2)
})

test('attack: a connection that waits too long for its turn is told to come again, and is counted', async () => {
  const { app, metrics } = createTestHttp()
  app.get('/slow', forAnybody, async () => {
    burn(20)
    return 'slow'
  })
  const ask = await open(app)
  const all = await besiege(ask, 150)
  const told = () => all.filter(({ came }) => /^HTTP\/1.1 503 .*retry-after: /s.test(came()))
  await expect.poll(() => told().length, { timeout: 20_000 }).toBeGreaterThan(10)
  expect(all.filter(({ came }) => came().includes('malformed'))).toEqual([])
  // The client of this one does not close it.
  const [refused] = told()
  await expect.poll(() => refused?.socket.closed, { timeout: 5000 }).toBe(true)
  const counted = await metrics.getSingleMetric('bastion_http_refusals_total')?.get()
  expect(counted?.values.map(({ labels }) => labels)).toEqual([
    { listener: 'portal', reason: 'busy' },
  ])
}, 30_000)

test('attack: what is refused before it is a request is counted', async () => {
  const { ask, metrics } = await listening({ starts: { startsPerSecondMax: 1, exempt: [] } })
  expect(await ask('no HTTP\r\n\r\n').answer).toContain('HTTP/1.1 400 ')
  for (let count = 0; count < 3; count++) await ask(last('/quick')).answer
  const counted = await metrics.getSingleMetric('bastion_http_refusals_total')?.get()
  expect(counted?.values.map(({ labels }) => labels.reason)).toEqual(['malformed', 'rate'])
})

test('attack: an address opens connections without end; others, and those that are exempt, get in', async () => {
  const starts = { startsPerSecondMax: 5, exempt: ['127.0.0.3'] }
  const { ask } = await listening({ starts })
  const answered = async (from: string) => {
    const all = Array.from({ length: 40 }, () => ask(last('/quick'), from).answer)
    return (await Promise.all(all)).filter((answer) => answer.includes('quick')).length
  }
  expect(await answered('127.0.0.2')).toBeLessThan(40)
  expect(await answered('127.0.0.3')).toBe(40)
  expect(await answered('127.0.0.1')).toBeGreaterThan(0)
})

test('attack: a body that nobody reads stays with its sender', async () => {
  const { ask, waiting, let: letGo } = await listening()
  const bytes = 128 * 1024 * 1024
  const sender = ask(head('GET /held', `Content-Length: ${bytes}\r\n`))
  let isTaken = false
  sender.socket.write(Buffer.alloc(bytes), () => {
    isTaken = true
  })
  await expect.poll(waiting).toBe(1)
  for (let count = 0; count < 50; count++) await ask(last('/quick')).answer
  expect(isTaken).toBe(false)
  letGo()
  await expect.poll(sender.came).toContain('held')
})

test('eight requests with large heads that are sent at once are answered in their order', async () => {
  const { ask } = await listening()
  const large = `X-Large: ${'x'.repeat(3000)}\r\n`
  const heads = Array.from({ length: 7 }, (_, count) => head(`GET /echo/${count}`, large))
  const answer = await ask(heads.join('') + last('/echo/7')).answer
  expect([...answer.matchAll(/"text":"(\d)"/g)].map(([, text]) => text).join('')).toBe('01234567')
})

test('a body that waits for the word to go on gets it, and a body that comes with its head is read', async () => {
  const { ask } = await listening()
  const form = 'Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n'
  const patient = ask(head('POST /form', `${form}Connection: close\r\nExpect: 100-continue\r\n`))
  await expect.poll(patient.came).toBe('HTTP/1.1 100 Continue\r\n\r\n')
  patient.socket.write('a=b')
  expect(await patient.answer).toContain('form a=b')
  const long = `a=${'b'.repeat(60_000)}`
  const all = form.replace(': 3', `: ${long.length}`)
  const sent = ask(head('POST /form', `${all}Connection: close\r\n`) + long)
  expect(await sent.answer).toContain(`form ${long}`)
})

test.each([
  ['an unknown expectation', 200, '/quick', 'Expect: x\r\n'],
  ['a malformed path', 400, '/echo/%zz', ''],
  ['a parameter that is too long', 414, `/echo/${'a'.repeat(101)}`, ''],
])(
  'attack: a request with %s passes by no check, header or count',
  async (_what, status, path, more) => {
    const { ask, metrics } = await listening()
    const request = head(`GET ${path}`, `Connection: close\r\n${more}`)
    for (const [expected, text] of [
      [status, request],
      [421, request.replace(host, 'evil.test')],
      [421, request.replace(`Host: ${host}\r\n`, '')],
    ] as const) {
      const answer = await ask(text).answer
      expect(answer).toContain(`HTTP/1.1 ${expected} `)
      expect(answer).toContain("content-security-policy: default-src 'none'")
      expect(answer).toContain('x-request-id: ')
    }
    const counted = await metrics.getSingleMetric('bastion_http_requests_total')?.get()
    expect(counted?.values.reduce((sum, { value }) => sum + value, 0)).toBe(3)
  },
)
