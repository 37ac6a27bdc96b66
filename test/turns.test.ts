import { expect, test } from 'vitest'
import { Turns } from '../src/turns.ts'

const tick = () => new Promise((resolve) => setImmediate(resolve))

/** Takes a turn, and notes its name when the turn begins. */
async function work(turns: Turns, order: string[], tenant: string, user: string) {
  using _turn = await turns.take({ tenant, user })
  order.push(`${tenant} ${user}`)
  await Promise.resolve()
}

/** Takes turns that do not end, and tells how many have begun. */
function hold(turns: Turns, tenant: string, times: number) {
  const held: Disposable[] = []
  for (let time = 0; time < times; time++) {
    void turns.take({ tenant, user: 'u' }).then((turn) => held.push(turn))
  }
  return held
}

test('lets a number of works run at the same time, in the order in which they came', async () => {
  const turns = new Turns(1)
  const order: number[] = []
  const take = async (number: number) => {
    using _turn = await turns.take()
    order.push(number)
    await Promise.resolve()
  }
  await Promise.all([1, 2, 3].map(take))
  expect(order).toEqual([1, 2, 3])
})

test('attack: a tenant that asks for a thousand turns does not delay another tenant', async () => {
  const turns = new Turns(1)
  const order: string[] = []
  const hostile = Array.from({ length: 1000 }, (_, at) =>
    work(turns, order, 'hostile', String(at % 100)),
  )
  await Promise.all([
    ...hostile,
    work(turns, order, 'polite', 'a'),
    work(turns, order, 'polite', 'a'),
  ])
  expect(order).toHaveLength(1002)
  expect(order.lastIndexOf('polite a')).toBeLessThan(6)
})

test('attack: a user who asks for a thousand turns does not delay a colleague', async () => {
  const turns = new Turns(1)
  const order: string[] = []
  const hostile = Array.from({ length: 1000 }, () => work(turns, order, 'acme', 'hostile'))
  await Promise.all([...hostile, work(turns, order, 'acme', 'polite')])
  expect(order.indexOf('acme polite')).toBeLessThan(4)
})

test('attack: a tenant whose turns do not end leaves turns for other tenants', async () => {
  const turns = new Turns(6)
  const hostile = hold(turns, 'hostile', 100)
  await tick()
  expect(hostile.length).toBeGreaterThan(1)
  expect(hostile.length).toBeLessThan(6)
  const another = hold(turns, 'hostile too', 100)
  await tick()
  const order: string[] = []
  await work(turns, order, 'polite', 'a')
  expect(order).toEqual(['polite a'])
  // What was held back gets its turn when one ends.
  const before = hostile.length + another.length
  hostile[0]?.[Symbol.dispose]()
  await tick()
  expect(hostile.length + another.length).toBe(before + 1)
})

test('a turn that is ended twice is given once', async () => {
  const turns = new Turns(1)
  const first = await turns.take()
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  const held = hold(turns, 'acme', 2)
  await tick()
  expect(held).toHaveLength(1)
})

test('a waiter that gives up leaves its place to the next one', async () => {
  const turns = new Turns(1)
  const first = await turns.take()
  const over = new AbortController()
  const waiting = turns.take({ tenant: 'acme', user: 'a' }, over.signal)
  over.abort(new Error('the client has gone'))
  await expect(waiting).rejects.toThrow('the client has gone')
  expect(turns.waiting).toBe(0)
  first[Symbol.dispose]()
  using _next = await turns.take({ tenant: 'acme', user: 'b' })
})
