import { expect, test } from 'vitest'
import { Penalties } from '../../../src/bastion/monitor/penalties.ts'
import type { PenaltyLimits } from '../../../src/config.ts'

const limits: PenaltyLimits = {
  silentMs: 1000,
  refusedMs: 5000,
  lateMs: 10_000,
  invalidMs: 10_000,
  minMs: 15_000,
  maxMs: 600_000,
  exempt: ['192.0.2.64/26', '2001:db8:7::/48', '198.51.100.9'],
}

function frozen(other: Partial<PenaltyLimits> = {}) {
  const clock = { now: 10_000 }
  return { clock, penalties: new Penalties({ ...limits, ...other }, () => clock.now) }
}

test('one who mistypes now and then is never held off', () => {
  const { penalties, clock } = frozen()
  for (let count = 0; count < 100; count++) {
    expect(penalties.left('192.0.2.1', 'refused')).toBe(false)
    expect(penalties.isHeld('192.0.2.1')).toBe(false)
    clock.now += 5000
  }
})

test('one who is refused again and again is held off, until it has passed', () => {
  const { penalties, clock } = frozen()
  const held = [1, 2, 3, 4].map(() => penalties.left('192.0.2.1', 'refused'))
  // It is told once.
  expect(held).toEqual([false, false, true, false])
  expect(penalties.isHeld('192.0.2.1')).toBe(true)
  // What is enforced is enforced to its end, also below what it began at.
  clock.now += 19_999
  expect(penalties.isHeld('192.0.2.1')).toBe(true)
  clock.now += 1
  expect(penalties.isHeld('192.0.2.1')).toBe(false)
  // And it begins anew.
  expect(penalties.left('192.0.2.1', 'refused')).toBe(false)
  expect(penalties.isHeld('192.0.2.1')).toBe(false)
})

test('each way to leave has its price, and no sum grows for ever', () => {
  for (const [how, times] of [
    ['silent', 15],
    ['refused', 3],
    ['late', 2],
    ['invalid', 2],
  ] as const) {
    const { penalties } = frozen()
    for (let count = 1; count < times; count++) expect(penalties.left('::1', how)).toBe(false)
    expect(penalties.left('::1', how), how).toBe(true)
  }
  const { penalties, clock } = frozen()
  for (let count = 0; count < 10_000; count++) penalties.left('::1', 'invalid')
  clock.now += 599_999
  expect(penalties.isHeld('::1')).toBe(true)
  clock.now += 1
  expect(penalties.isHeld('::1')).toBe(false)
})

test('where somebody has logged in, mistakes of others cost nothing for an hour', () => {
  const { penalties, clock } = frozen()
  penalties.loggedIn('192.0.2.1')
  for (let count = 0; count < 1000; count++) {
    penalties.left('192.0.2.1', 'refused')
    penalties.left('192.0.2.1', 'silent')
  }
  expect(penalties.isHeld('192.0.2.1')).toBe(false)
  clock.now += 3_600_000
  for (let count = 0; count < 3; count++) penalties.left('192.0.2.1', 'refused')
  expect(penalties.isHeld('192.0.2.1')).toBe(true)
})

test('attack: somebody with a login wears the bastion out from the same address', () => {
  const { penalties } = frozen()
  penalties.loggedIn('192.0.2.1')
  for (let count = 0; count < 2; count++) penalties.left('192.0.2.1', 'late')
  expect(penalties.isHeld('192.0.2.1')).toBe(true)
})

/** Two workers serve; each says what it says. */
function doubted() {
  const clock = { now: 10_000 }
  const penalties = new Penalties(limits, () => clock.now, 2)
  return { clock, penalties }
}

test('attack: a worker has the address of users refused, by what it says about their connections', () => {
  const { penalties } = doubted()
  penalties.loggedIn('192.0.2.1')
  for (let count = 0; count < 100; count++) penalties.left('192.0.2.1', 'invalid', 1)
  expect(penalties.isHeld('192.0.2.1')).toBe(false)
  // A second one says so too.
  penalties.left('192.0.2.1', 'invalid', 2)
  expect(penalties.isHeld('192.0.2.1')).toBe(true)
})

test('attack: somebody with a login wears two workers out from the same address', () => {
  const { penalties } = doubted()
  penalties.loggedIn('192.0.2.1')
  for (const worker of [1, 2]) penalties.left('192.0.2.1', 'late', worker)
  expect(penalties.isHeld('192.0.2.1')).toBe(true)
})

test('attack: what a worker said holds an address off when the worker is gone', () => {
  const { penalties, clock } = doubted()
  for (let count = 0; count < 2; count++) penalties.left('192.0.2.1', 'invalid', 1)
  for (let count = 0; count < 60; count++) penalties.left('192.0.2.2', 'invalid', 1)
  for (let count = 0; count < 3; count++) penalties.left('192.0.2.2', 'refused', 2)
  const held = () => ['192.0.2.1', '192.0.2.2'].map((address) => penalties.isHeld(address))
  expect(held()).toEqual([true, true])
  penalties.forget(1)
  // What the other worker said stands, and no longer than that.
  expect(held()).toEqual([false, true])
  clock.now += 15_000
  expect(held()).toEqual([false, false])
  expect(penalties.left('192.0.2.1', 'silent', 2)).toBe(false)
})

test('attack: an IPv6 network of one customer is one address', () => {
  const { penalties } = frozen()
  for (const host of ['1', '2', '3']) penalties.left(`2001:db8:1:2::${host}`, 'refused')
  expect(penalties.isHeld('2001:db8:1:2:ffff::9')).toBe(true)
  expect(penalties.isHeld('2001:db8:1:3::1')).toBe(false)
  // One machine is not two for speaking both ways.
  for (let count = 0; count < 3; count++) penalties.left('::ffff:192.0.2.1', 'refused')
  expect(penalties.isHeld('192.0.2.1')).toBe(true)
})

test.each(['192.0.2.65', '::ffff:192.0.2.65', '2001:db8:7:1::5', '198.51.100.9'])(
  '%s is exempt',
  (address) => {
    const { penalties } = frozen()
    for (let count = 0; count < 100; count++) penalties.left(address, 'invalid')
    expect(penalties.isHeld(address)).toBe(false)
    for (let count = 0; count < 3; count++) penalties.left('192.0.2.63', 'invalid')
    expect(penalties.isHeld('192.0.2.63')).toBe(true)
  },
)

test('a price of nothing is none', () => {
  const { penalties } = frozen({ refusedMs: 0 })
  for (let count = 0; count < 100; count++) penalties.left('192.0.2.1', 'refused')
  expect([penalties.isHeld('192.0.2.1'), penalties.size]).toEqual([false, 0])
})

test('attack: more addresses than can be remembered push out the oldest, and none that floods', () => {
  const { penalties } = frozen()
  const flood = () => {
    for (let count = 0; count < 3; count++) penalties.left('192.0.2.1', 'refused')
  }
  flood()
  for (let count = 0; count < 100_000; count++) {
    if (count % 50_000 === 0) flood()
    penalties.left(
      `2001:db8:${(count >> 12).toString(16)}:${(count & 4095).toString(16)}::1`,
      'silent',
    )
  }
  expect(penalties.size).toBe(65_536)
  expect(penalties.isHeld('192.0.2.1')).toBe(true)
})
