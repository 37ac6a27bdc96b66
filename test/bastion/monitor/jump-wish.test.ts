import { describe, expect, test } from 'vitest'
import type { Target } from '../../../src/access/index.ts'
import { targetAt, wishOf } from '../../../src/bastion/monitor/jump-wish.ts'
import { readDestination } from '../../../src/bastion/wire/destination.ts'
import { WireError, Writer } from '../../../src/ssh/wire.ts'

const target = (name: string, host: string, port = 22) => ({ name, host, port }) as Target
const targets = [
  target('web1', '192.0.2.7', 2200),
  target('db1', 'DB.example.org'),
  target('v6', '2001:db8::7'),
]
const at = (host: string, port = 22) => targetAt(targets, 'acme', { host, port })?.name

describe('a destination is the target', () => {
  test.each([
    ['web1', 22, 'web1'],
    ['web1', 2200, 'web1'],
    ['WEB1.acme', 22, 'web1'],
    ['web1.acme.', 22, 'web1'],
    ['192.0.2.7', 2200, 'web1'],
    ['db.example.org', 22, 'db1'],
    ['2001:db8::7', 22, 'v6'],
  ])('%s port %i', (host, port, name) => {
    expect(at(host, port)).toBe(name)
  })
})

describe('a destination is no target', () => {
  test.each([
    ['web1', 5432],
    ['web1.other', 22],
    ['web', 22],
    ['192.0.2.7', 22],
    ['192.0.2.7', 5432],
    ['', 22],
    ['web1\0', 22],
    ['127.0.0.1', 22],
  ])('%j port %i', (host, port) => {
    expect(at(host, port)).toBeUndefined()
  })
})

test('reads a destination, and no more than one', () => {
  const payload = new Writer().text('web1').u32(22).text('127.0.0.1').u32(50_000)
  expect(readDestination(payload.build())).toEqual({ host: 'web1', port: 22 })
  expect(() => readDestination(payload.boolean(true).build())).toThrow(WireError)
  expect(() => readDestination(Buffer.alloc(3))).toThrow(WireError)
  for (const [host, port] of [
    ['web1', 65_536],
    ['web1', 4_294_967_295],
    ['x'.repeat(256), 22],
  ] as const) {
    const wrong = new Writer().text(host).u32(port).text('').u32(0).build()
    expect(() => readDestination(wrong)).toThrow(WireError)
  }
})

describe('an inner user name', () => {
  const jump = { slug: 'acme', idName: 'tenant-0123abcd', target: 'web1' }
  test.each([
    ['root', { preferredLogin: 'root' }],
    ['acme', {}],
    ['tenant-0123abcd', {}],
    ['acme+web1', {}],
    ['acme+web1+deploy', { login: 'deploy' }],
    ['tenant-0123abcd+web1+deploy', { login: 'deploy' }],
    ['name with spaces', {}],
    ['', {}],
  ])('%j is taken', (user, wish) => {
    expect(wishOf(user, jump)).toEqual(wish)
  })

  test.each(['other+web1', 'acme+db1', 'acme+web1+', '+', 'acme+web1+a+b', 'tenant-99999999+web1'])(
    '%j is refused',
    (user) => {
      expect(wishOf(user, jump)).toBeUndefined()
    },
  )
})
