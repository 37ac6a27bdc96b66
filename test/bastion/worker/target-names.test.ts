import type { LookupAddress } from 'node:dns'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { lookupsAtOnce } from '../../../src/bastion/wire/worker-threads.ts'
import { TargetNames } from '../../../src/bastion/worker/target-names.ts'
import { openSocket } from '../../../src/ssh/index.ts'

const server = createServer((socket) => socket.end())
let port: number
beforeAll(async () => {
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  port = (server.address() as AddressInfo).port
})
afterAll(() => {
  server.close()
})

const attacker = { tenant: 'attacker', user: 'u' }
const polite = { tenant: 'polite', user: 'u' }

/** Names of `slow.test` are never resolved; each takes a thread of the system in earnest. */
function slowNames() {
  const asked: string[] = []
  const find = (host: string): Promise<readonly LookupAddress[]> => {
    asked.push(host)
    if (host.endsWith('slow.test')) return new Promise(() => {})
    if (host === 'nowhere.test') return Promise.resolve([])
    return Promise.resolve([{ address: '127.0.0.1', family: 4 }])
  }
  return { names: new TargetNames(find), asked }
}

test('attack: a tenant’s targets whose names never resolve hold up no other tenant’s dials', async () => {
  const { names, asked } = slowNames()
  const hostile = Array.from({ length: 50 }, (_, at) =>
    openSocket(`${at}.slow.test`, port, names.lookupFor(attacker)).on('error', () => {}),
  )
  await expect.poll(() => asked.length).toBeGreaterThan(0)
  const socket = openSocket('web.test', port, names.lookupFor(polite))
  await once(socket, 'connect')
  expect(socket.remoteAddress).toBe('127.0.0.1')
  expect(asked.filter((host) => host.endsWith('slow.test')).length).toBeLessThan(lookupsAtOnce)
  for (const one of [...hostile, socket]) one.destroy()
})

test('attack: a name that never resolves fails its own dial, and says so', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    const { names } = slowNames()
    const socket = openSocket('a.slow.test', port, names.lookupFor(attacker))
    const failed = once(socket, 'error')
    await vi.advanceTimersByTimeAsync(9000)
    expect(await failed).toMatchObject([{ code: 'EAI_AGAIN' }])
  } finally {
    vi.useRealTimers()
  }
})

test('a name without an address, and an address without a name', async () => {
  const { names, asked } = slowNames()
  const nowhere = openSocket('nowhere.test', port, names.lookupFor(polite))
  expect(await once(nowhere, 'error')).toMatchObject([{ code: 'ENOTFOUND' }])
  const literal = openSocket('127.0.0.1', port, names.lookupFor(polite))
  await once(literal, 'connect')
  literal.destroy()
  expect(asked).toEqual(['nowhere.test'])
})

test('the system’s own names lead where they lead for every program', async () => {
  const socket = openSocket('localhost', port, new TargetNames().lookupFor(polite))
  await once(socket, 'connect')
  expect(socket.remotePort).toBe(port)
  socket.destroy()
})
