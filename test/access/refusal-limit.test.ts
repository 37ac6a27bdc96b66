import { expect, test } from 'vitest'
import { RefusalLimit } from '../../src/access/refusal-limit.ts'

test('lets sixty refusals of a user a minute onto the log', () => {
  const limit = new RefusalLimit()
  const taken = (atMs: number) =>
    Array.from({ length: 100 }, () => limit.take('acme', 'ann', atMs)).filter(Boolean).length
  expect(taken(0)).toBe(60)
  expect(taken(59_999)).toBe(0)
  expect(taken(60_000)).toBe(60)
})

test('attack: a tenant with very many users hides no refusal of another tenant', () => {
  const limit = new RefusalLimit(100)
  for (let user = 0; user < 100; user += 1) limit.take('hostile', `h-${user}`, 0)
  expect(limit.take('hostile', 'h-100', 0)).toBe(false)
  for (let user = 0; user < 40; user += 1) {
    for (let count = 0; count < 60; count += 1)
      expect(limit.take('polite', `p-${user}`, 0)).toBe(true)
    expect(limit.take('polite', `p-${user}`, 0)).toBe(false)
  }
})
