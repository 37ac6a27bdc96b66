import pg from 'pg'
import { Registry } from 'prom-client'
import { expect, onTestFinished, test, vi } from 'vitest'
import { bootClockMs } from '../../src/boot-clock.ts'
import {
  claimEndedInstances,
  type Database,
  endExpiredInstances,
  holdLease,
  newInstanceId,
  removeOldInstances,
  settleInstances,
} from '../../src/postgres/index.ts'
import { openWay } from '../support/database-way.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

const fixture = await openTestDatabase()
const { app } = fixture

async function hold(leaseMs: number, database: Database = fixture.open('vaultterm_app')) {
  const instance = newInstanceId()
  const lease = await holdLease({
    database,
    instance,
    node: 'a-name',
    leaseMs,
    log: silent,
    metrics: new Registry(),
  })
  onTestFinished(() => lease.release())
  return lease
}

const rowOf = async (instance: string) => {
  const [row] = await fixture.superuser<{ ended: string | null; leftMs: number }>(
    `select ended, extract(epoch from lease_until - clock_timestamp())::float8 * 1000 as "leftMs"
       from node_instance where id = $1`,
    [instance],
  )
  if (row === undefined) throw new Error('there is no instance')
  return row
}

const expire = (instance: string) =>
  fixture.pastTriggers(
    "update node_instance set lease_until = clock_timestamp() - interval '1 s' where id = $1",
    [instance],
  )

test('ends for its owner before it ends for the others, by whole parts of its length', async () => {
  const leaseMs = 60_000
  const lease = await hold(leaseMs)
  const beforeMs = bootClockMs()
  const { leftMs } = await rowOf(lease.instance)
  // Later than it is by the time that the answer took: a part of the lease is longer.
  const othersAtMs = bootClockMs() + leftMs
  expect(lease.stopAtMs).toBeLessThanOrEqual(othersAtMs - leaseMs / 9 + 20)
  expect(lease.serveUntilMs).toBeLessThanOrEqual(othersAtMs - (leaseMs / 9) * 2 + 20)
  expect(lease.serveUntilMs).toBeGreaterThan(beforeMs)
})

test('is renewed while its owner lives', async () => {
  const lease = await hold(4500)
  const { serveUntilMs } = lease
  await vi.waitFor(() => expect(lease.serveUntilMs).toBeGreaterThan(serveUntilMs + 2000), {
    timeout: 30_000,
  })
  const other = await hold(60_000)
  await app.system((tx) => endExpiredInstances(tx, other.instance))
  expect(await rowOf(lease.instance)).toMatchObject({ ended: null })
})

test('lapses without its database, and comes back when nobody took it', async () => {
  const way = await openWay(fixture.urls.app)
  const lease = await hold(4500, fixture.open('vaultterm_app', { waitMs: 500 }, way.url))
  const lapsed = vi.fn()
  lease.onLapse(lapsed)
  way.cut()
  await vi.waitFor(() => expect(lapsed).toHaveBeenCalledOnce(), { timeout: 30_000 })
  expect(bootClockMs()).toBeGreaterThanOrEqual(lease.serveUntilMs)
  way.mend()
  await vi.waitFor(() => expect(lease.serveUntilMs).toBeGreaterThan(bootClockMs()), {
    timeout: 30_000,
  })
  expect(await rowOf(lease.instance)).toMatchObject({ ended: null })
})

test('is not ended by its own process, whatever the database’s clock says', async () => {
  const lease = await hold(60_000)
  await expire(lease.instance)
  await app.system((tx) => endExpiredInstances(tx, lease.instance))
  expect(await rowOf(lease.instance)).toMatchObject({ ended: null })
})

test('is not ended by a process whose own lease has run out as well', async () => {
  const [lease, other] = [await hold(60_000), await hold(60_000)]
  await expire(lease.instance)
  await expire(other.instance)
  await app.system((tx) => endExpiredInstances(tx, other.instance))
  expect(await rowOf(lease.instance)).toMatchObject({ ended: null })
})

test('is lost for good when another process has taken it', async () => {
  const [lease, other] = [await hold(4500), await hold(60_000)]
  const lapsed = vi.fn()
  lease.onLapse(lapsed)
  await expire(lease.instance)
  // Its owner may renew it until then.
  await vi.waitFor(
    async () => {
      await expire(lease.instance)
      const ended = await app.system((tx) => endExpiredInstances(tx, other.instance))
      expect(ended.map(({ id }) => id)).toContain(lease.instance)
    },
    { timeout: 30_000 },
  )
  expect(await lease.lost).toMatchObject({ code: 'ERR_NODE_LEASE_LOST' })
  expect(lapsed).toHaveBeenCalledOnce()
  expect(lease.stopAtMs).toBe(0)
  await lease.release()
  expect(await rowOf(lease.instance)).toMatchObject({ ended: 'expired' })
})

test('is given up by a process that stops', async () => {
  const lease = await hold(60_000)
  await lease.release()
  expect(await rowOf(lease.instance)).toMatchObject({ ended: 'released' })
})

test('is each process’s own, also of two with one name', async () => {
  const [one, two] = [await hold(60_000), await hold(60_000)]
  await one.release()
  expect(await rowOf(two.instance)).toMatchObject({ ended: null })
})

test('leaves an ended instance to one claimant, and to the next when that one ends', async () => {
  const [ended, one, two] = [await hold(60_000), await hold(60_000), await hold(60_000)]
  await ended.release()
  const claims = async (own: typeof one) =>
    (await app.system((tx) => claimEndedInstances(tx, own.instance))).map(({ id }) => id)
  expect(await claims(one)).toContain(ended.instance)
  expect(await claims(two)).not.toContain(ended.instance)
  expect(await claims(one)).toContain(ended.instance)
  await one.release()
  expect(await claims(two)).toContain(ended.instance)
})

test('settles no instance whose last transaction may still commit', async () => {
  const lease = await hold(60_000)
  await lease.release()
  const settle = () => app.system((tx) => settleInstances(tx))
  expect(await settle()).toBe(0)
  await fixture.pastTriggers(
    "update node_instance set ended_at = clock_timestamp() - interval '1 hour' where id = $1",
    [lease.instance],
  )
  expect(await settle()).toBe(1)
})

test('attack: no login that serves hides an instance from the others', async () => {
  const [lease, other] = [await hold(60_000), await hold(60_000)]
  const set = (text: string) =>
    app.system((tx) => tx.run(`update node_instance set ${text} where id = $1`, [lease.instance]))
  const refused = { code: 'VT022' }
  await set("lease_until = 'infinity'")
  expect((await rowOf(lease.instance)).leftMs).toBeLessThanOrEqual(60_000)
  await expect(set('settled_at = now()')).rejects.toMatchObject(refused)
  await expire(lease.instance)
  // Nor in the same statement as its end.
  await expect(
    set("ended_at = '2000-01-01', ended = 'expired', settled_at = now()"),
  ).rejects.toMatchObject(refused)
  await set("ended_at = '2000-01-01', ended = 'expired'")
  await expect(set('settled_at = now()')).rejects.toMatchObject(refused)
  await expect(set('ended_at = null, ended = null')).rejects.toMatchObject(refused)
  const claimed = await app.system((tx) => claimEndedInstances(tx, other.instance))
  expect(claimed.map(({ id }) => id)).toContain(lease.instance)
})

test('attack: a claim by an instance that is not there runs out', async () => {
  const [ended, next] = [await hold(60_000), await hold(60_000)]
  const ghost = newInstanceId()
  await ended.release()
  await app.system(async (tx) => {
    await tx.run(
      `insert into node_instance (id, node, lease_ms, lease_until)
         values ($1, 'ghost', 1000, 'infinity')`,
      [ghost],
    )
    await tx.run('update node_instance set recovered_by = $2 where id = $1', [
      ended.instance,
      ghost,
    ])
  })
  await vi.waitFor(
    async () => {
      await app.system((tx) => endExpiredInstances(tx, next.instance))
      const claimed = await app.system((tx) => claimEndedInstances(tx, next.instance))
      expect(claimed.map(({ id }) => id)).toContain(ended.instance)
    },
    { timeout: 30_000 },
  )
})

/** A session that its process has open. */
const sessionOf = async (instance: string) =>
  fixture.superuser(
    `insert into session (tenant_id, id, user_id, user_name, key_fingerprint, target_id, target_name,
         login, kind, source, client_ident, node, recording, instance)
       values ($1, gen_random_uuid(), gen_random_uuid(), 'demo', '', gen_random_uuid(), 'web1',
         'root', 'shell', '', '', 'n', false, $2)`,
    [await fixture.createTenant(), instance],
  )

/** Statements of a login in one transaction. */
async function inIsolation(level: string, work: (client: pg.Client) => Promise<void>) {
  const client = new pg.Client({ connectionString: fixture.urls.app.reveal() })
  await client.connect()
  try {
    await client.query(`begin isolation level ${level}; set local role vaultterm_system`)
    await work(client)
    await client.query('commit')
  } finally {
    await client.end()
  }
}

test.each(['read committed', 'repeatable read', 'serializable'])(
  'attack: no login removes the row of a process with an open session, %s',
  async (level) => {
    const lease = await hold(60_000)
    // A time that the process has not had.
    await app.system((tx) =>
      tx.run("update node_instance set lease_until = now() - interval '2 hours' where id = $1", [
        lease.instance,
      ]),
    )
    expect((await rowOf(lease.instance)).leftMs).toBeGreaterThan(0)
    await fixture.pastTriggers(
      "update node_instance set lease_until = now() - interval '2 hours' where id = $1",
      [lease.instance],
    )
    await inIsolation(level, async (client) => {
      // The snapshot is older than the session.
      await client.query('select from node_instance')
      await sessionOf(lease.instance)
      const gone = client.query('delete from node_instance where id = $1', [lease.instance])
      await expect(gone).rejects.toMatchObject({ code: 'VT022' })
    })
    expect(await rowOf(lease.instance)).toMatchObject({ ended: null })
  },
)

test('attack: no login settles a process whose session it does not see', async () => {
  const lease = await hold(60_000)
  await lease.release()
  await fixture.pastTriggers(
    "update node_instance set lease_until = '2000-01-01', ended_at = now() - interval '2 hours' where id = $1",
    [lease.instance],
  )
  const settle = "update node_instance set settled_at = '2000-01-01' where id = $1"
  await inIsolation('repeatable read', async (client) => {
    await client.query('select from node_instance')
    const settled = client.query(settle, [lease.instance])
    await expect(settled).rejects.toMatchObject({ code: 'VT022' })
  })
  // One that it may settle stays for an hour, whatever it says.
  await app.system((tx) => tx.run(settle, [lease.instance]))
  const removed = app.system((tx) =>
    tx.run('delete from node_instance where id = $1', [lease.instance]),
  )
  await expect(removed).rejects.toMatchObject({ code: 'VT022' })
})

test('attack: the bastion’s login can neither end an instance nor make one', async () => {
  const lease = await hold(60_000)
  const refused = /permission denied/
  for (const text of [
    "update node_instance set ended_at = now(), ended = 'expired'",
    'delete from node_instance',
    `insert into node_instance (id, node, lease_ms, lease_until)
       values (gen_random_uuid(), 'x', 1000, now())`,
  ]) {
    await expect(fixture.bastion.system((tx) => tx.run(text))).rejects.toThrow(refused)
    const tenant = await fixture.createTenant()
    await expect(fixture.bastion.write(tenant, (tx) => tx.run(text))).rejects.toThrow(refused)
  }
  expect(await rowOf(lease.instance)).toMatchObject({ ended: null })
})

test('attack: no login fills the table of processes, nor keeps a new one out for good', async () => {
  onTestFinished(() => fixture.pastTriggers("delete from node_instance where node = 'ghost'"))
  const fill = (leaseUntil: string, many: number) =>
    app.system((tx) =>
      tx.run(
        `insert into node_instance (id, node, lease_ms, lease_until)
           select gen_random_uuid(), 'ghost', 3600000, ${leaseUntil} from generate_series(1, ${many})`,
      ),
    )
  const rows = async () => {
    const [row] = await fixture.superuser<{ many: number }>(
      'select count(*)::int as many from node_instance',
    )
    return row?.many
  }
  await fill("now() - interval '1 day'", 1900)
  await fill("now() - interval '1 day'", 300)
  expect(await rows()).toBeLessThanOrEqual(2000)
  await expect(fill("now() + interval '1 hour'", 2500)).rejects.toMatchObject({
    code: 'ERR_DATABASE_UNAVAILABLE',
    message: expect.stringContaining('too many processes hold a lease'),
  })
  // Rows that nothing asks for make room, also those that somebody has ended and nobody has settled.
  await app.system((tx) =>
    tx.run(
      `update node_instance set ended_at = now(), ended = 'released'
         where node = 'ghost' and ended_at is null`,
    ),
  )
  await fixture.pastTriggers(
    "update node_instance set ended_at = now() - interval '2 hours' where node = 'ghost'",
  )
  await hold(60_000)
  expect(await rows()).toBeLessThanOrEqual(2000)
})

test('removes the rows of processes that ended long ago, and no others', async () => {
  const [gone, kept] = [await hold(60_000), await hold(60_000)]
  await gone.release()
  const remove = () => app.system(removeOldInstances)
  await remove()
  await fixture.pastTriggers(
    `update node_instance set lease_until = now() - interval '2 hours',
       ended_at = now() - interval '2 hours' where id = $1`,
    [gone.instance],
  )
  await app.system(settleInstances)
  await remove()
  expect(await rowOf(gone.instance)).toMatchObject({ ended: 'released' })
  await fixture.pastTriggers(
    "update node_instance set settled_at = now() - interval '2 hours' where id = $1",
    [gone.instance],
  )
  await remove()
  await expect(rowOf(gone.instance)).rejects.toThrow('no instance')
  expect(await rowOf(kept.instance)).toMatchObject({ ended: null })
  // Nor does a login that serves.
  const removed = app.system((tx) =>
    tx.run('delete from node_instance where id = $1', [kept.instance]),
  )
  await expect(removed).rejects.toMatchObject({ code: 'VT022' })
})
