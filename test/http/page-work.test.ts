import { expect, test } from 'vitest'
import { PageWork } from '../../src/http/page-work.ts'
import { workedMs } from '../../src/work-share.ts'

const staying = new AbortController().signal

/** Spends the processor's time on nothing. */
function burn(ms: number): void {
  const until = workedMs() + ms
  while (workedMs() < until);
}

test('attack: work for pages without end leaves most of the time to others', async () => {
  const work = new PageWork()
  const started = performance.now()
  let workMs = 0
  const ask = async (user: string) => {
    while (performance.now() - started < 1000) {
      await work.run({ tenant: 'strangers', user }, staying, () => {
        burn(5)
        workMs += 5
      })
    }
  }
  await Promise.all(['192.0.2.1', '192.0.2.2', '192.0.2.3'].map(ask))
  // A quarter, and the advance.
  expect(workMs).toBeLessThan((performance.now() - started) * 0.25 + 75)
  expect(workMs).toBeGreaterThan(50)
})

test('half of the turns are for people, and the others for one address after the other', async () => {
  const work = new PageWork()
  const order: string[] = []
  const ask = (tenant: string, user: string) =>
    work.run({ tenant, user }, staying, () => void order.push(user))
  await Promise.all([
    ...Array.from({ length: 10 }, () => ask('strangers', 'flood')),
    ask('strangers', 'browser'),
    ...Array.from({ length: 3 }, () => ask('people', 'ada')),
    ask('people', 'bob'),
  ])
  expect(order.slice(0, 9).join(' ')).toBe('flood flood ada browser bob flood ada flood ada')
})
