import { expect, test } from 'vitest'
import { sourceOf } from '../../../src/address.ts'
import { Admission } from '../../../src/bastion/monitor/admission.ts'
import type { BastionLimits } from '../../../src/config.ts'

const limits: BastionLimits = {
  loginGraceMs: 60_000,
  unauthenticatedMax: 4,
  unauthenticatedPerSourceMax: 3,
  startsPerSecondMax: 5,
  authTriesMax: 6,
  channelsPerConnectionMax: 64,
  forwardsPerConnectionMax: 50,
  listenersPerConnectionMax: 10,
  connectionsPerUserMax: 10,
  sessionsPerUserMax: 10,
  keepalive: { intervalMs: 0, countMax: 0 },
  targetKeepalive: { intervalMs: 0, countMax: 0 },
  penalties: {
    silentMs: 1000,
    refusedMs: 5000,
    lateMs: 10_000,
    invalidMs: 10_000,
    minMs: 15_000,
    maxMs: 600_000,
    exempt: [],
  },
}

function frozen() {
  const clock = { now: 10_000 }
  const evicted: string[] = []
  const admission = new Admission(limits, () => clock.now)
  const admit = (address: string, name = address) =>
    admission.admit(address, () => evicted.push(name))
  return { clock, evicted, admission, admit }
}

test('refuses the newcomer while all who wait are young', () => {
  const { admit } = frozen()
  for (const name of ['a', 'b', 'c']) expect(admit('192.0.2.1', name)).toHaveProperty('release')
  expect(admit('192.0.2.1', 'd')).toBe('crowded')
})

test('PD-01: whoever has waited longest makes room, so a flood locks nobody out', () => {
  const { admit, clock, evicted } = frozen()
  for (const name of ['a', 'b', 'c']) admit('192.0.2.1', name)
  clock.now += 3000
  expect(admit('192.0.2.1', 'd')).toHaveProperty('release')
  expect(evicted).toEqual(['a'])
})

test('one source cannot take the room of the others', () => {
  const { admit, clock, evicted } = frozen()
  for (const name of ['a', 'b', 'c']) admit('192.0.2.1', name)
  admit('192.0.2.2')
  clock.now += 3000
  admit('192.0.2.3')
  expect(evicted).toEqual(['a'])
})

test('attack: many addresses of one network lock no other network out, though each holds one place', () => {
  const { admit, evicted } = frozen()
  for (const at of [1, 2, 3, 4]) admit(`192.0.2.${at}`)
  expect(admit('198.51.100.1')).toHaveProperty('release')
  expect(evicted).toEqual(['192.0.2.1'])
})

test('attack: a source that holds many places loses a young one to a source that holds fewer', () => {
  const { admit, evicted } = frozen()
  for (const name of ['a', 'b', 'c']) admit('192.0.2.1', name)
  admit('192.0.2.2')
  expect(admit('192.0.2.3')).toHaveProperty('release')
  expect(admit('192.0.2.4')).toHaveProperty('release')
  expect(evicted).toEqual(['a', 'b'])
  // All hold as much now, and are young.
  expect(admit('192.0.2.5')).toBe('crowded')
  expect(evicted).toEqual(['a', 'b'])
})

test('attack: a source that holds many places takes none of one that holds fewer, however old', () => {
  const { admit, clock, evicted } = frozen()
  admit('192.0.2.2', 'slow')
  clock.now += 3000
  for (const name of ['a', 'b', 'c']) admit('192.0.2.1', name)
  expect(admit('192.0.2.1', 'd')).toBe('crowded')
  clock.now += 3000
  expect(admit('192.0.2.1', 'd')).toHaveProperty('release')
  expect(evicted).toEqual(['a'])
})

test('attack: no source gets more than its part by the places of another that has as many', () => {
  const { admission, admit, clock } = frozen()
  admit('192.0.2.2')
  for (const name of ['a', 'b', 'c']) admit('192.0.2.1', name)
  clock.now += 3000
  for (const name of ['d', 'e', 'f']) admit('192.0.2.1', name)
  expect(admission.strangers).toBe(4)
})

test('who has logged in no longer counts, and release twice is release once', () => {
  const { admit, admission } = frozen()
  const first = admit('192.0.2.1')
  if (typeof first === 'string') throw new Error(first)
  first.release()
  first.release()
  expect(admission.strangers).toBe(0)
})

test('limits the starts of one second, and only of that source', () => {
  const { admit, clock } = frozen()
  for (let i = 0; i < 5; i++) {
    const admitted = admit('192.0.2.1')
    if (typeof admitted !== 'string') admitted.release()
  }
  expect(admit('192.0.2.1')).toBe('start-rate')
  expect(admit('192.0.2.2')).toHaveProperty('release')
  clock.now += 1000
  expect(admit('192.0.2.1')).toHaveProperty('release')
})

test.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
])('WB-09: %s counts as %s', (address, source) => {
  expect(sourceOf(address)).toBe(source)
})
