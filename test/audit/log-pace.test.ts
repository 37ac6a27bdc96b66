import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { LogPace } from '../../src/audit/log-pace.ts'
import { type Call, connection } from '../../src/bastion/wire/calls.ts'
import { entriesOf } from '../../src/bastion/wire/log-entries.ts'
import { newSession } from '../support/recording.ts'

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

test('attack: what a worker asked for before it was killed holds its user back for the backlog only', async () => {
  const pace = new LogPace({ perSecond: 1000, burst: 100, backlogMs: 200 })
  let isHeld = true
  // A hundred seconds' worth of entries, none of which anybody has judged.
  const asked = Array.from({ length: 1000 }, () => pace.take('user', 100, () => isHeld))
  expect(await isDue(pace.take('user', 2))).toBe(false)
  isHeld = false
  const from = performance.now()
  await Promise.all(asked)
  await pace.take('user', 2)
  expect(performance.now() - from).toBeLessThan(20_000)
})

test('what waits beyond the backlog still keeps the pace', async () => {
  const pace = new LogPace({ perSecond: 1000, burst: 100, backlogMs: 50 })
  const from = performance.now()
  await Promise.all(Array.from({ length: 6 }, () => pace.take('user', 100)))
  // A hundred at once, and five hundred at a thousand a second.
  expect(performance.now() - from).toBeGreaterThan(450)
})

test('what writes no entries is never held back', async () => {
  const pace = new LogPace()
  for (let batch = 0; batch < 1000; batch++) pace.take('hostile', 50).catch(() => {})
  expect(await isDue(pace.take('hostile', 0))).toBe(true)
})

test('attack: a user who starts sessions or forwards without end is held back, and ends nothing late', async () => {
  const facts = { kind: 'exec', clientIdent: '' } as const
  const [session, of] = [newSession(), connection.parse(randomUUID())]
  const starts: readonly Call[] = [
    { method: 'startSession', args: [of, 'a-1', facts] },
    {
      method: 'openForward',
      args: [of, session, { kind: 'forward', host: 'web1', port: 80 }],
    },
  ]
  for (const start of starts) {
    // The start, and the end that follows.
    expect(entriesOf(start), start.method).toBe(2)
    const pace = new LogPace()
    for (let count = 0; count < 2500; count++) {
      const taken = pace.take('hostile', entriesOf(start))
      if (count % 500 === 0) expect(await isDue(taken)).toBe(true)
    }
    for (let count = 0; count < 500; count++) pace.take('hostile', entriesOf(start)).catch(() => {})
    expect(await isDue(pace.take('hostile', entriesOf(start))), start.method).toBe(false)
    expect(await isDue(pace.take('polite', entriesOf(start)))).toBe(true)
  }
})
