import { describe, expect, test } from 'vitest'
import { readJumpUsername } from '../../../src/bastion/monitor/jump-username.ts'
import { readDestination } from '../../../src/bastion/wire/destination.ts'
import { WireError, Writer } from '../../../src/ssh/wire.ts'

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
  ])('%j is taken', (user, read) => {
    expect(readJumpUsername(user, jump)).toEqual(read)
  })

  test.each(['other+web1', 'acme+db1', 'acme+web1+', '+', 'acme+web1+a+b', 'tenant-99999999+web1'])(
    '%j is refused',
    (user) => {
      expect(readJumpUsername(user, jump)).toBeUndefined()
    },
  )
})
