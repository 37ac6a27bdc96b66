import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { startPostgres } from '../../src/local/index.ts'
import { notificationUsage, notificationUsageMax, systemTenant } from '../../src/postgres/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { Secret } from '../../src/secret.ts'
import { silent, useServer } from '../support/postgres.ts'
import { openVaultFixture } from '../vault/vault-fixture.ts'
import { actor, open, openAccessFixture } from './access-fixture.ts'

/** A server of its own: all databases of a server share the queue, which is small here. */
const directory = await mkdtemp(join(tmpdir(), 'vaultterm-queue-'))
const server = await startPostgres({
  directory: join(directory, 'postgres'),
  superuserPassword: new Secret(randomBytes(18).toString('base64url')),
  log: silent,
  settings: { fsync: 'off', max_notify_queue_pages: '64', shared_buffers: '32MB' },
})
afterAll(async () => {
  await server.stop()
  await rm(directory, { recursive: true, force: true })
})
useServer(server.superuserUrl.reveal())
const fixture = await openAccessFixture()
const { access, auth, database } = fixture
const vaults = await openVaultFixture()

async function asBastion(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: database.urls.bastion.reveal() })
  client.on('error', () => {})
  await client.connect()
  return client
}

/** As a login that may do nothing: one connection holds the queue, and another one fills it. */
async function fillQueue(): Promise<() => Promise<void>> {
  const [holder, filler] = [await asBastion(), await asBastion()]
  await holder.query('listen anything')
  await holder.query('begin')
  await holder.query('select 1')
  for (const bytes of [7000, 100]) {
    let isFull = false
    while (!isFull) {
      await filler
        .query("select pg_notify('other', repeat('x', $1) || n) from generate_series(1, 20) n", [
          bytes,
        ])
        .catch((err: pg.DatabaseError) => {
          expect(err.message).toMatch(/too many notifications/)
          isFull = true
        })
    }
  }
  return async () => {
    await holder.end()
    // Who listens reads on when somebody tells them. The notice that found the queue full was undone, and told
    // nobody; what it had written by then is read after the next one, which fails while the queue is full.
    const usage = async () => {
      await filler.query("select pg_notify('other', '')").catch(() => {})
      return database.app.system(notificationUsage)
    }
    await expect.poll(usage).toBeLessThan(notificationUsageMax)
    await filler.end()
  }
}

/** A process that serves, with its clock in the test's hands, and what it heard. */
async function serving() {
  const { access: node, recover } = await fixture.serve()
  const stop = recover(() => Promise.reject(new Error('nothing is to be mended')))
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const heard = new Map<SessionId, string>()
  const close = await node.onKill({
    session: (session, reason) => void heard.set(session, reason),
    forward: () => {},
  })
  onTestFinished(async () => {
    await close()
    vi.useRealTimers()
    await stop()
  })
  return { node, heard }
}

test('attack: a full queue of notifications stops no kill, removal or revocation, nor delays it', async () => {
  const place = await fixture.grantedPlace()
  const { tenant, demo } = place
  const { node, heard } = await serving()
  const killed = await open(node, demo, 'web1')
  const other = await place.person('other')
  await access.addGrant(tenant, { user: 'other', target: 'web1' }, actor)
  const removed = await open(node, other, 'web1')
  const empty = await fillQueue()
  try {
    expect(await access.killSession(killed, actor, 'maintenance')).toBe('killed')
    await fixture.ca.authorities(tenant, 'user')
    await fixture.ca.revoke(tenant, 'user', { keyId: 'somebody' }, {})
    await auth.removeUser(tenant, 'other', actor)
    vi.advanceTimersByTime(15_000)
    await vi.waitFor(
      () => expect([...heard.keys()].toSorted()).toEqual([killed, removed].toSorted()),
      { timeout: 30_000 },
    )
  } finally {
    await empty()
  }
})

test('attack: what was taken away while the queue was full is found when it has emptied', async () => {
  const place = await fixture.grantedPlace()
  const { tenant, demo, grant } = place
  const other = await place.person('other')
  const second = await access.addGrant(tenant, { user: 'other', target: 'web1' }, actor)
  const { node, heard } = await serving()
  const [early, late] = [await open(node, demo, 'web1'), await open(node, other, 'web1')]
  const empty = await fillQueue()
  await access.removeGrant(tenant, grant.id, actor)
  vi.advanceTimersByTime(15_000)
  await vi.waitFor(() => expect(heard.has(early)).toBe(true), { timeout: 30_000 })
  // Between two sweeps: the second one sees a queue that is empty.
  await access.removeGrant(tenant, second.id, actor)
  await empty()
  expect(heard.has(late)).toBe(false)
  vi.advanceTimersByTime(15_000)
  await vi.waitFor(() => expect(heard.has(late)).toBe(true), { timeout: 30_000 })
})

test('attack: a full queue does not stop the vault from being sealed, and every process wipes its key', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  onTestFinished(() => void vi.useRealTimers())
  const other = await vaults.another()
  await vaults.vault.createAuthorityKey(systemTenant, { kind: 'user', generation: 1 })
  const place = { tenant: systemTenant, path: 'x', version: 1, kind: 'wrappedDek' } as const
  const isHeld = () => vaults.kek.wrap(Buffer.alloc(32), place).then(Boolean, (err) => err.code)
  const empty = await fillQueue()
  try {
    await other.seal()
    expect(await isHeld()).toBe(true)
    vi.advanceTimersByTime(15_000)
    await expect.poll(isHeld).toBe('ERR_VAULT_SEALED')
  } finally {
    await empty()
  }
  await other.unseal()
})
