import { expect, test } from 'vitest'
import { LogPace } from '../../../src/bastion/monitor/log-pace.ts'

/** Whether a promise has settled once everything that is due now has run. */
async function isDue(promise: Promise<void>): Promise<boolean> {
  const settled = promise.then(() => true)
  return Promise.race([settled, new Promise<false>((done) => setImmediate(() => done(false)))])
}

test('attack: a user who writes 50,000 entries is held back, and a colleague is not', async () => {
  const pace = new LogPace()
  const due: boolean[] = []
  for (let batch = 0; batch < 1000; batch++) {
    const taken = pace.take('hostile', 50)
    if (batch % 100 === 0) due.push(await isDue(taken))
  }
  // Five thousand at once, and the rest at its pace.
  expect(due[0]).toBe(true)
  expect(due.slice(2)).toEqual(due.slice(2).map(() => false))
  expect(await isDue(pace.take('polite', 50))).toBe(true)
})

test('what writes no entries is never held back', async () => {
  const pace = new LogPace()
  for (let batch = 0; batch < 1000; batch++) pace.take('hostile', 50).catch(() => {})
  expect(await isDue(pace.take('hostile', 0))).toBe(true)
})
