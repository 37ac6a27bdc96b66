import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type MendRecording, Mends } from '../../src/access/mends.ts'
import { newSession, newTenant } from '../support/recording.ts'

beforeEach(() => vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] }))
afterEach(() => vi.useRealTimers())

/** Takes all the time that it is given, and not less than some. */
function taking(leastMs: number) {
  const given: (number | undefined)[] = []
  const mend: MendRecording = async ({ withinMs }) => {
    given.push(withinMs)
    vi.advanceTimersByTime(Math.max(leastMs, Math.min(1900, withinMs ?? 0)))
    return { outcome: 'missing' }
  }
  return { given, mend }
}

test('attack: the ends of a tenant wait for its recordings a few seconds in a minute, all together', async () => {
  const mends = new Mends()
  const [hostile, other] = [newTenant(), newTenant()]
  const { given, mend } = taking(0)
  const prompt = (tenant: typeof hostile) => mends.prompt({ tenant, session: newSession() }, mend)
  for (let count = 0; count < 7; count++) await prompt(hostile)
  expect(given).toEqual([2000, 2000, 2000, 300, 50, 50, 50])
  await prompt(other)
  vi.advanceTimersByTime(60_000)
  await prompt(hostile)
  expect(given.slice(7)).toEqual([2000, 2000])
})

test('attack: a disk that hangs is waited for once, and no recording is read twice at a time', async () => {
  const mends = new Mends()
  const [tenant, session] = [newTenant(), newSession()]
  let calls = 0
  const hung = Promise.withResolvers<{ outcome: 'missing' }>()
  const mend = () => {
    calls++
    return hung.promise
  }
  const first = mends.prompt({ tenant, session }, mend)
  await vi.advanceTimersByTimeAsync(4000)
  expect(await first).toEqual({ outcome: 'unfinished' })
  expect(await mends.prompt({ tenant, session: newSession() }, mend)).toEqual(await first)
  await expect(mends.whole({ tenant, session }, mend)).rejects.toThrow('being read still')
  expect(calls).toBe(1)
  hung.resolve({ outcome: 'missing' })
  await hung.promise
  await vi.advanceTimersByTimeAsync(1)
  expect(await mends.whole({ tenant, session }, mend)).toEqual({ outcome: 'missing' })
})
