import { expect, test } from 'vitest'
import { FailureBudget } from '../../src/auth/failures.ts'

function openBudget() {
  // A window begins at the first failure after the one before has ended.
  let now = 60_000
  const budget = new FailureBudget(() => now)
  const take = (times: number, source: string, tenant = 'acme') =>
    Array.from({ length: times }, () => budget.take(tenant, source))
  const written = (answers: readonly (number | undefined)[]) =>
    answers.filter((held) => held !== undefined).length
  const wait = (ms: number) => {
    now += ms
  }
  return { take, written, wait }
}

test('lets ten a minute through from one address, and others beside it', () => {
  const { take, written, wait } = openBudget()
  expect(written(take(50, 'a'))).toBe(10)
  expect(written(take(10, 'b'))).toBe(10)
  wait(59_999)
  expect(written(take(50, 'a'))).toBe(0)
  wait(1)
  expect(written(take(50, 'a'))).toBe(10)
})

test('lets 120 a minute through in a tenant, from however many addresses, and others beside it', () => {
  const { take, written } = openBudget()
  const answers = Array.from({ length: 500 }, (_, i) => take(1, `source-${i}`)).flat()
  expect(written(answers)).toBe(120)
  expect(written(take(1, 'source-1', 'globex'))).toBe(1)
})

test('tells with the next that is written how many were not, and forgets none', () => {
  const { take, wait } = openBudget()
  const first = take(13, 'a')
  expect(first).toEqual([...Array.from({ length: 10 }, () => 0), undefined, undefined, undefined])
  expect(take(1, 'b')).toEqual([3])
  expect(take(1, 'b')).toEqual([0])
  take(2, 'a')
  wait(600_000)
  expect(take(1, 'c')).toEqual([2])
})

test('attack: a flood against many tenants hides no failure of another', () => {
  const { take, written } = openBudget()
  for (let tenant = 0; tenant < 120; tenant += 1)
    for (let i = 0; i < 130; i += 1) take(1, `source-${i}`, `tenant-${tenant}`)
  expect(written(take(1, 'a', 'one-more'))).toBe(1)
  expect(written(take(1, 'b', 'one-more'))).toBe(1)
})

test('counts what could not be written, and tells of it with the next', () => {
  let now = 0
  const budget = new FailureBudget(() => now)
  expect(budget.take('acme', 'a')).toBe(0)
  budget.hold('acme', 3)
  budget.hold('acme')
  now = 60_000
  expect(budget.take('acme', 'a')).toBe(4)
})
