import { expect, test } from 'vitest'
import { WorkerChoice } from '../../../src/bastion/monitor/worker-choice.ts'

interface Fake {
  readonly name: string
  connections: number
}

/** Workers and a clock. Those in `bad` let nobody log in and say that they have no connections. */
function room(names: readonly string[], bad: readonly string[] = []) {
  const clock = { now: 0 }
  const choice = new WorkerChoice<Fake>(() => clock.now)
  const workers: Fake[] = names.map((name) => ({ name, connections: 0 }))
  const got = new Map<string, number>()
  /** A connection that stays open. True when the user is in. */
  function connect(address: string, user?: string): boolean {
    const worker = choice.choose(workers)
    if (worker === undefined) throw new Error('no worker')
    got.set(worker.name, (got.get(worker.name) ?? 0) + 1)
    choice.give(worker, address)
    if (bad.includes(worker.name)) return false
    worker.connections++
    if (user === undefined) return false
    choice.loggedIn(worker, address, user)
    return true
  }
  return {
    clock,
    choice,
    workers,
    connect,
    /** A user who tries until it works. */
    comeIn(address: string, user: string): void {
      let isIn = false
      for (let tries = 0; tries < 1000 && !isIn; tries++) isIn = connect(address, user)
    },
    share: (name: string) => got.get(name) ?? 0,
    suspects() {
      clock.now += 60_000
      return choice.review(workers).map(({ name }) => name)
    },
  }
}

test('sessions that stay are spread evenly, also after a worker was replaced', () => {
  const { workers, connect, choice } = room(['one', 'two', 'three'])
  for (let count = 0; count < 300; count++) connect('192.0.2.1', 'ann')
  const spread = () => {
    const counts = workers.map(({ connections }) => connections)
    return Math.max(...counts) - Math.min(...counts)
  }
  expect(spread()).toBeLessThan(10)
  const [gone] = workers
  if (gone !== undefined) choice.forget(gone)
  workers[0] = { name: 'new', connections: 0 }
  for (let count = 0; count < 3000; count++) connect('192.0.2.1', 'ann')
  expect(spread()).toBeLessThan(10)
})

test.each([2, 3, 8])('attack: one of %i workers says that it has no connections', (count) => {
  const names = Array.from({ length: count }, (_, at) => `worker ${at}`)
  const { connect, share } = room(names, ['worker 0'])
  for (let given = 0; given < 1600; given++) connect('192.0.2.1', 'ann')
  expect(share('worker 0') / 1600).toBeLessThan(1.13 / count)
})

test('attack: a worker lets nobody log in; it is found, and gets nothing more', () => {
  const { comeIn, connect, share, suspects } = room(['one', 'two', 'three'], ['two'])
  expect(suspects()).toEqual([])
  for (let user = 0; user < 120; user++) comeIn(`192.0.2.${user}`, `user ${user}`)
  expect(suspects()).toEqual(['two'])
  expect(suspects()).toEqual([])
  const before = share('two')
  for (let count = 0; count < 100; count++) connect('192.0.2.7', 'ann')
  expect(share('two')).toBe(before)
})

test('a suspect serves when nobody else does, and is tried again after an hour', () => {
  const { comeIn, choice, workers, suspects, clock } = room(['one', 'two'], ['two'])
  for (let user = 0; user < 120; user++) comeIn(`192.0.2.${user}`, `user ${user}`)
  expect(suspects()).toEqual(['two'])
  expect(choice.choose(workers.slice(1))?.name).toBe('two')
  const chosen = () => Array.from({ length: 8 }, () => choice.choose(workers)?.name)
  expect(chosen()).not.toContain('two')
  clock.now += 3_600_000
  expect(suspects()).toEqual([])
  expect(chosen()).toContain('two')
})

test('attack: strangers from everywhere make no honest worker suspect', () => {
  const { choice, workers, comeIn, suspects } = room(['one', 'two'])
  const [, victim] = workers
  for (let user = 0; user < 20; user++) comeIn(`192.0.2.${user}`, `user ${user}`)
  for (let count = 0; count < 3000; count++) {
    if (victim !== undefined) choice.give(victim, `2001:db8:1:${count.toString(16)}::1`)
  }
  expect(suspects()).toEqual([])
})

test('attack: a user with many addresses makes no honest worker suspect', () => {
  const { choice, workers, suspects } = room(['one', 'two'])
  const [accomplice, victim] = workers
  if (accomplice === undefined || victim === undefined) throw new Error('no worker')
  for (let count = 0; count < 100; count++) {
    const address = `192.0.2.${count}`
    choice.give(accomplice, address)
    choice.loggedIn(accomplice, address, 'mallory')
    choice.give(victim, address)
  }
  expect(suspects()).toEqual([])
})

test('users of whom each fails before they log in make no worker suspect', () => {
  const { connect, suspects } = room(['one', 'two'])
  for (let user = 0; user < 200; user++) {
    connect(`192.0.2.${user}`)
    connect(`192.0.2.${user}`, `user ${user}`)
  }
  expect(suspects()).toEqual([])
})
