import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseUsername } from '../../../src/bastion/monitor/username.ts'

test.each([
  ['acme', { tenant: 'acme', target: undefined, login: undefined }],
  ['acme+web1', { tenant: 'acme', target: 'web1', login: undefined }],
  ['acme+web1+root', { tenant: 'acme', target: 'web1', login: 'root' }],
  ['tenant-550e8400', { tenant: 'tenant-550e8400', target: undefined, login: undefined }],
  ['a+b+_www.data-1', { tenant: 'a', target: 'b', login: '_www.data-1' }],
])('reads %s', (text, wish) => {
  expect(parseUsername(text)).toEqual(wish)
})

test.each([
  '',
  '+web1',
  'acme+',
  'acme+web1+',
  'acme+web1+root+more',
  'ACME',
  '-oProxyCommand=id',
  'acme+-oProxyCommand',
  '../etc',
  'acme\u0000',
  'acme ',
  'acme%web1',
  'a\u0301cme',
  '\u202eacme',
  'a'.repeat(33),
  `acme+web1+${'r'.repeat(33)}`,
  'x'.repeat(10_000),
])('AU-27: refuses the trick name %j', (text) => {
  expect(parseUsername(text)).toBeUndefined()
})

test('accepts nothing but the grammar, whatever comes', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 80 }), (text) => {
      const wish = parseUsername(text)
      if (wish === undefined) return
      const parts = [wish.tenant, wish.target, wish.login].filter((part) => part !== undefined)
      expect(parts.join('+')).toBe(text)
      expect(text).toMatch(/^[A-Za-z0-9_.+-]+$/)
    }),
  )
})
