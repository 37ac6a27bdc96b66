import { describe, expect, test } from 'vitest'
import { isForwardPattern, matchesForward } from '../../src/access/index.ts'
import { canonicalHost } from '../../src/ssh/index.ts'

describe('leads there', () => {
  test.each([
    ['db.example.org:5432', 'db.example.org', 5432],
    ['db.example.org:5432', 'DB.example.org.', 5432],
    ['*.example.org:443', 'a.b.example.org', 443],
    ['*:443', 'anything', 443],
    ['10.0.0.0/8:*', '10.1.2.3', 1],
    ['10.1.2.3:8000-8999', '10.1.2.3', 8080],
    // The target gets 10.1.2.3, which is what this means to a resolver.
    ['10.0.0.0/8:*', '167838211', 1],
    ['[2001:db8::/32]:22', '2001:db8::7', 22],
    ['localhost:5432', 'localhost', 5432],
  ])('%s to %s port %i', (pattern, host, port) => {
    expect(isForwardPattern(pattern)).toBe(true)
    expect(matchesForward(pattern, { host: canonicalHost(host), port })).toBe(true)
  })
})

describe('does not lead there', () => {
  test.each([
    ['db.example.org:5432', 'db.example.org', 5433],
    ['db.example.org:5432', 'xdb.example.org', 5432],
    ['*.example.org:443', 'example.org', 443],
    ['*.example.org:443', 'evil-example.org', 443],
    ['10.0.0.0/8:*', '11.1.2.3', 1],
    ['10.0.0.0/8:*', 'ten.example.org', 1],
    ['10.1.2.3:8000-8999', '10.1.2.3', 9000],
    ['*:443', 'anything', 444],
  ])('%s to %s port %i', (pattern, host, port) => {
    expect(matchesForward(pattern, { host: canonicalHost(host), port })).toBe(false)
  })

  test.each(['*:*', 'localhost:*'])('%s to a socket', (pattern) => {
    expect(matchesForward(pattern, { path: '/run/docker.sock' })).toBe(false)
  })
})

test.each([
  '',
  ':',
  'host',
  'host:',
  ':22',
  'host:0x16',
  'host:65536',
  'host:9-1',
  'a b:22',
  '10.0.0.1/8:22',
  '*x:22',
  '[::1:22',
  'h:22\n',
  'h:22;id',
])('is no pattern: %j', (pattern) => {
  expect(isForwardPattern(pattern)).toBe(false)
  expect(matchesForward(pattern, { host: 'host', port: 22 })).toBe(false)
})
