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
      await work.run(['strangers', user], staying, () => {
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

test('people who are signed in have half of the work, and a newcomer waits for one piece', async () => {
  const work = new PageWork()
  const order: string[] = []
  const ask = (group: string, user: string) =>
    work.run([group, user], staying, () => {
      burn(1)
      order.push(user)
    })
  const flood = Array.from({ length: 40 }, () => ask('strangers', 'flood'))
  const people = Array.from({ length: 30 }, () => ask('people', 'ada'))
  await flood[15]
  const before = order.length
  await ask('strangers', 'browser')
  expect(order.slice(before).length).toBeLessThan(10)
  await Promise.all([...flood, ...people])
  const both = order.slice(0, 40)
  expect(both.filter((user) => user === 'ada').length).toBeGreaterThan(10)
  expect(both.filter((user) => user === 'flood').length).toBeGreaterThan(10)
})

test('attack: connections that are accepted without end do not put off a page without end', async () => {
  const work = new PageWork()
  for (let count = 0; count < 40; count++) work.atOnce(['strangers', 'flood'], () => burn(5))
  const started = performance.now()
  await work.run(['strangers', 'first'], staying, () => {})
  await work.run(['strangers', 'browser'], staying, () => {})
  expect(performance.now() - started).toBeLessThan(1000)
})
