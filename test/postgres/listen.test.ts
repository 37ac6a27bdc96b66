import { expect, test } from 'vitest'
import { openTestDatabase } from '../support/postgres.ts'

const database = await openTestDatabase()
const notify = (channel: string, payload: string) =>
  database.superuser('select pg_notify($1, $2)', [channel, payload])

test('tells each listener of a channel, until it stops listening', async () => {
  const [first, second, other]: (string | undefined)[][] = [[], [], []]
  const listening = await database.app.listen('test_kill', (payload) => first?.push(payload))
  await database.app.listen('test_kill', (payload) => second?.push(payload))
  await database.app.listen('test_other', (payload) => other?.push(payload))
  await notify('test_kill', 'a')
  await expect.poll(() => [first, second]).toEqual([['a'], ['a']])
  await listening.close()
  await notify('test_kill', 'b')
  await expect.poll(() => second).toEqual(['a', 'b'])
  expect([first, other]).toEqual([['a'], []])
})

test('listens again after its connection was lost, and says that it may have missed something', async () => {
  const heard: (string | undefined)[] = []
  const fresh = database.open('vaultterm_app')
  await fresh.listen('test_again', (payload) => heard.push(payload))
  const killed = await database.superuser(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and query = 'listen test_again'`,
  )
  expect(killed).toHaveLength(1)
  await expect.poll(() => heard).toEqual([undefined])
  await notify('test_again', 'c')
  await expect.poll(() => heard).toEqual([undefined, 'c'])
})

test('goes on after a listener that throws', async () => {
  const heard: (string | undefined)[] = []
  await database.app.listen('test_throws', () => {
    throw new Error('listener failed')
  })
  await database.app.listen('test_throws', (payload) => heard.push(payload))
  await notify('test_throws', 'd')
  await expect.poll(() => heard).toEqual(['d'])
})

test('refuses a channel name that is more than a name', async () => {
  const listen = database.app.listen('a; drop table tenant', () => {})
  await expect(listen).rejects.toThrow('not a channel name')
})
