import { expect, test } from 'vitest'
import { openTestDatabase } from '../support/postgres.ts'

// Run with unhandled errors counted as failures: an answer that nobody can hold must not end the process.
const database = await openTestDatabase()
const text = (bytes: number) => `select repeat('a', ${bytes}) as text`
const tooLarge = { code: 'ERR_DATABASE_ANSWER', message: expect.stringMatching(/is too large/) }

test('attack: a text that is too large to be read is an error of its own query', async () => {
  const tenant = await database.createTenant()
  // Its length is known at its beginning, so it is not waited for.
  const huge = database.app.read(tenant, (tx) => tx.many(text(70_000_000)))
  await expect(huge).rejects.toMatchObject(tooLarge)
  await database.app.ping()
})

test('attack: a large answer ends its transaction and no other, wherever its message begins', async () => {
  const tenant = await database.createTenant()
  const app = database.open('vaultterm_app', { messageBytesMax: 100_000, connectionsMax: 2 })
  const counted = 'select count(*) as count from generate_series(1, 10)'
  for (const before of [0, 1, 5, 100, 5000]) {
    const [honest, attacked] = await Promise.allSettled([
      app.read(tenant, async (tx) => {
        await tx.many('select pg_sleep(0.05)')
        return tx.many(counted)
      }),
      app.write(tenant, async (tx) => {
        const rows = tx.many(`select repeat('b', 90) from generate_series(1, ${before})`)
        return Promise.all([rows, tx.many(text(100_001))])
      }),
    ])
    expect(honest).toMatchObject({ value: [{ count: 10 }] })
    expect(attacked).toMatchObject({ reason: tooLarge })
  }
  // The control: many messages below it are no large one.
  const rows = app.read(tenant, (tx) =>
    tx.many<{ text: string }>(`${text(99_000)} from generate_series(1, 50)`),
  )
  expect((await rows).map((row) => row.text.length)).toEqual(Array(50).fill(99_000))
})

test('attack: a large answer to the connection that listens does not end the process', async () => {
  const heard: (string | undefined)[] = []
  const app = database.open('vaultterm_app', { messageBytesMax: 1000 })
  const listening = await app.listen('probe', (payload) => void heard.push(payload))
  await database.superuser("select pg_notify('probe', repeat('a', 5000))")
  // It connects again, and says that something was missed.
  await expect.poll(() => heard).toContain(undefined)
  await database.superuser("select pg_notify('probe', 'short')")
  await expect.poll(() => heard).toContain('short')
  await listening.close()
})
