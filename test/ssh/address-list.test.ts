import { BlockList } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { matchesAddressList } from '../../src/ssh/address-list.ts'

test.each([
  ['192.0.2.7', '192.0.2.7', true],
  ['192.0.2.7', '192.0.2.8', false],
  ['192.0.2.7/32', '192.0.2.7', true],
  ['192.0.2.0/25', '192.0.2.127', true],
  ['192.0.2.0/25', '192.0.2.128', false],
  ['0.0.0.0/0', '255.255.255.255', true],
  ['0.0.0.0/0', '2001:db8::1', false],
  ['::/0', '2001:db8::1', true],
  ['::/0', '192.0.2.7', false],
  ['::/0', '::ffff:192.0.2.7', false],
  ['192.0.2.0/24', '::FFFF:192.0.2.7', true],
  ['192.0.2.0/24', '::ffff:c000:207', true],
  ['192.0.2.0/24', '::192.0.2.7', false],
  ['2001:db8::1', '2001:0DB8:0:0::1', true],
  ['2001:db8::/33', '2001:db8:7fff::', true],
  ['2001:db8::/33', '2001:db8:8000::', false],
  ['::1', '::1', true],
  ['fe80::/10', 'fe80::1', true],
  ['fe80::/10', 'fe80::1%eth0', false],
  ['10.0.0.0/8,2001:db8::/32', '2001:db8::5', true],
  ['10.0.0.0/8', 'nowhere', false],
  ['10.0.0.0/8', '', false],
])('of %s, %s is one: %s', (list, address, is) => {
  expect(matchesAddressList(list, address)).toBe(is)
})

test.each([
  '',
  ',',
  '10.0.0.0/8,',
  '10.0.0.0/8, 192.0.2.7',
  '10.0.0.1/8',
  '10.0.0.0/33',
  '10.0.0.0/08',
  '10.0.0.0/-1',
  '10.0.0.0/',
  '/8',
  '10.0.0.0/8/8',
  '010.0.0.0/8',
  '10.0.0/8',
  '10.*',
  '!10.0.0.0/8',
  '::/129',
  '2001:db8::1/32',
  'fe80::1%eth0',
  'localhost',
])('nobody is in the malformed list %j', (list) => {
  expect(matchesAddressList('10.0.0.0/8', '10.0.0.0')).toBe(true)
  expect(matchesAddressList(list, '10.0.0.0')).toBeUndefined()
})

test('agrees with the block lists of Node', () => {
  const v4 = fc.tuple(
    fc.ipV4(),
    fc.ipV4(),
    fc.integer({ min: 0, max: 32 }),
    fc.constant('ipv4' as const),
  )
  const v6 = fc.tuple(
    fc.ipV6(),
    fc.ipV6(),
    fc.integer({ min: 0, max: 128 }),
    fc.constant('ipv6' as const),
  )
  fc.assert(
    fc.property(fc.oneof(v4, v6), fc.boolean(), ([base, other, prefix, family], isSame) => {
      const matches = matchesAddressList(`${base}/${prefix}`, isSame ? base : other)
      if (matches === undefined) return
      const blocks = new BlockList()
      blocks.addSubnet(base, prefix, family)
      expect(matches).toBe(blocks.check(isSame ? base : other, family))
    }),
    { numRuns: 2000 },
  )
})
