import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalHost } from '../../src/ssh/host-name.ts'
import { embeddedIpv4, formatIpAddress, parseIpAddress } from '../../src/ssh/ip-address.ts'

const read = (text: string) => {
  const address = parseIpAddress(text)
  return address && formatIpAddress(address)
}

test.each([
  ['127.0.0.1', '127.0.0.1'],
  ['127.1', '127.0.0.1'],
  ['127.0.1', '127.0.0.1'],
  ['2130706433', '127.0.0.1'],
  ['0x7f000001', '127.0.0.1'],
  ['0X7F.1', '127.0.0.1'],
  ['0177.0.0.1', '127.0.0.1'],
  ['017700000001', '127.0.0.1'],
  ['0', '0.0.0.0'],
  ['010.0.0.1', '8.0.0.1'],
  ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
  ['::ffff:c000:202', '::ffff:c000:202'],
  ['0:0:1::', '0:0:1::'],
  ['fe80::1%eth0', 'fe80::1%eth0'],
])('%s is %s', (text, canonical) => {
  expect(read(text)).toBe(canonical)
})

test.each([
  ...['', 'localhost', '256.1.1.1', '1.2.3.4.5', '1..2', '.1', '1.', '08.1', '0x', '4294967296'],
  ...['1.2.3.256', '127.0.0.1%lo', '::1%', '::1%a/b', '1.2.3.4 ', '::g', '-1', '1e3'],
])('%j is no address', (text) => {
  expect(read(text)).toBeUndefined()
})

test.each([
  ['::127.0.0.1', ['127.0.0.1']],
  ['64:ff9b::a9fe:a9fe', ['169.254.169.254']],
  ['64:ff9b:1::10.0.0.1', ['10.0.0.1']],
  ['2002:7f00:1::', ['127.0.0.1']],
  ['::ffff:0:10.0.0.1', ['10.0.0.1']],
  ['::1', []],
  ['::', []],
  ['2001:db8::1', []],
])('%s leads to %j by a translator or a tunnel', (text, inner) => {
  const address = parseIpAddress(text)
  expect(address && embeddedIpv4(address).map(formatIpAddress)).toEqual(inner)
})

test('the one spelling reads as the same address', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV4Extended(), fc.ipV6()), (text) => {
      const address = parseIpAddress(text)
      if (address === undefined) return
      expect(parseIpAddress(formatIpAddress(address))).toEqual(address)
    }),
  )
})

describe('the one spelling of a host', () => {
  test.each([
    ['DB.Example.org.', 'db.example.org'],
    ['::ffff:c000:202', '192.0.2.2'],
    ['::FFFF:127.0.0.1', '127.0.0.1'],
    ['_service.example', '_service.example'],
    ['127.1.', '127.0.0.1'],
    ['2130706433.', '127.0.0.1'],
  ])('of %s is %s', (text, canonical) => {
    expect(canonicalHost(text)).toBe(canonical)
  })

  test.each([
    ...[
      '127.0.0.1\0.internal',
      'a\nb',
      'a b',
      'a\tb',
      'bücher.example',
      '[::1]',
      'a/b',
      'x@y',
      '\u202e',
    ],
    ...[
      '.',
      'a..',
      '..',
      '.a',
      'a..b',
      'fe80::1%',
      '1.2.3.4%lo',
      'a:b',
      'x'.repeat(256),
      'a\\b',
      "a'b",
      'a\x7f',
    ],
  ])('%j has none', (text) => {
    expect(() => canonicalHost(text)).toThrow(/host|address/)
  })
})

test('attack: a spelling whose one spelling would be judged as another one', () => {
  const part = fc.constantFrom(
    '127',
    '0x7f',
    '1',
    '0177',
    'a',
    'B',
    '.',
    '..',
    '-',
    '_',
    '::1',
    '%',
    '',
  )
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      let once: string
      try {
        once = canonicalHost(parts.join(''))
      } catch {
        return
      }
      expect(canonicalHost(once)).toBe(once)
    }),
    { numRuns: 5000 },
  )
})
