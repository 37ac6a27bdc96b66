import { expect, test } from 'vitest'
import { ReadTurns } from '../../../src/ssh/ssh2/read-turns.ts'

function work(): void {
  const endMs = performance.now() + 5
  while (performance.now() < endMs);
}

test('a read is worked on at once where there is time', () => {
  const turns = new ReadTurns()
  let works = 0
  for (let read = 0; read < 3; read++) turns.take({ tenant: 'a', user: 'a' }, () => works++)
  expect(works).toBe(3)
})

test('attack: the loop comes round between the reads of a flood, and others come next', async () => {
  const turns = new ReadTurns()
  const order: string[] = []
  const rush = (user: string) =>
    turns.take({ tenant: 'hostile', user }, () => {
      work()
      order.push(user)
    })
  for (let read = 0; read < 100; read++) rush('mallory')
  rush('colleague')
  turns.take({ tenant: 'honest', user: 'victor' }, () => order.push('victor'))
  const inTurn: number[] = [order.length]
  while (order.length < 102) {
    const before = order.length
    await new Promise((done) => setImmediate(done))
    inTurn.push(order.length - before)
  }
  // 30 ms of the first turn, and 8 ms of each later one.
  expect(Math.max(...inTurn)).toBeLessThanOrEqual(7)
  const ofMallory = (until: string) =>
    order.slice(0, order.indexOf(until)).filter((user) => user === 'mallory').length
  expect(ofMallory('victor')).toBeLessThanOrEqual(8)
  expect(ofMallory('colleague')).toBeLessThanOrEqual(9)
})
