import { expect, test } from 'vitest'
import { networksOf } from '../src/address.ts'
import { type WorkOwner, WorkQueue } from '../src/work-queue.ts'

/** What a request costs here. */
const workMs = 0.3

const at = (source: string): WorkOwner => ['strangers', ...networksOf(source)]

/** Addresses that always ask for one more. */
function besieged(sources: readonly string[]) {
  const queue = new WorkQueue<string>()
  const flood = new Set(sources)
  for (const source of sources) queue.add(at(source), source)
  const serve = () => {
    const next = queue.take()
    if (next === undefined) throw new Error('nobody waits')
    queue.charge(next.owner, workMs)
    if (flood.has(next.item)) queue.add(next.owner, next.item)
    return next.item
  }
  /** After how many of the flood's turns one has its turn. */
  const wait = (source: string) => {
    queue.add(at(source), source)
    for (let turns = 0; ; turns++) if (serve() === source) return turns
  }
  return { queue, serve, wait }
}

const many = (count: number, name: (at: number) => string) =>
  Array.from({ length: count }, (_, index) => name(index))

test.each([
  ['in a network each', (count: number) => `10.${count >> 8}.${count & 255}.1`],
  ['in four IPv4 networks', (count: number) => `10.0.${count >> 8}.${count & 255}`],
  ['in one IPv6 /48', (count: number) => `2001:db8:1:${count.toString(16)}::/64`],
  ['in one IPv6 /32', (count: number) => `2001:db8:${count.toString(16)}:0::/64`],
])(
  'attack: a thousand addresses %s that ask without end delay no newcomer and its page',
  (_where, name) => {
    const { serve, wait } = besieged(many(1000, name))
    // By then all of them have used what they had as newcomers.
    for (let turns = 0; turns < 16_000; turns++) serve()
    const waits = many(8, () => '192.0.2.1').map(wait)
    expect(waits.reduce((sum, turns) => sum + turns)).toBeLessThan(20)
  },
)

test('attack: while a thousand addresses are newcomers too, each of them goes first once', () => {
  const { serve, wait } = besieged(many(1000, (count) => `10.${count >> 8}.${count & 255}.1`))
  expect(wait('192.0.2.1')).toBeGreaterThan(900)
  for (let turns = 0; turns < 2000; turns++) serve()
  expect(wait('198.51.100.1')).toBeLessThan(3)
})

test('attack: new addresses without end do not keep those out that have been here', () => {
  const { queue, wait } = besieged([])
  for (let count = 0; count < 100; count++) expect(wait('192.0.2.1')).toBe(0)
  let newcomers = 0
  const next = () => `10.${(newcomers >> 8) & 255}.${newcomers++ & 255}.1`
  for (let count = 0; count < 10; count++) queue.add(at(next()), 'new')
  queue.add(at('192.0.2.1'), 'known')
  for (let turns = 0; ; turns++) {
    expect(turns).toBeLessThan(30)
    const taken = queue.take()
    if (taken?.item === 'known') break
    queue.charge(taken?.owner ?? [], workMs)
    queue.add(at(next()), 'new')
  }
})

test('an item that was removed is not taken, and nothing is left of it', () => {
  const queue = new WorkQueue<string>()
  queue.add(['a', 'b'], 'one')
  queue.add(['a', 'b'], 'two')
  queue.remove(['a', 'b'], 'one')
  expect(queue.take()?.item).toBe('two')
  queue.add(['a', 'b'], 'three')
  queue.remove(['a', 'b'], 'three')
  expect(queue.take()).toBeUndefined()
})
