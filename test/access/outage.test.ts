import { Registry } from 'prom-client'
import { expect, test, vi } from 'vitest'
import { createAccess } from '../../src/access/index.ts'
import { openWay } from '../support/database-way.ts'
import { silent } from '../support/postgres.ts'
import { actor, denied, open, openAccessFixture, shell } from './access-fixture.ts'

const fixture = await openAccessFixture()

test('writes an end once the database is back, and opens nothing without it', async () => {
  const { tenant, person, target } = await fixture.place()
  const demo = await person('demo')
  await target('web1')
  await fixture.access.addGrant(tenant, { user: 'demo', target: 'web1' }, actor)
  const way = await openWay(fixture.database.urls.app)
  const node = createAccess({
    database: await fixture.database.openServing({ waitMs: 1000 }, way.url),
    vault: { ...fixture.vault, lease: () => Promise.reject(new Error('not asked')) },
    ca: { ...fixture.ca, leaseUpstream: () => Promise.reject(new Error('not asked')) },
    registry: undefined,
    log: silent,
    metrics: new Registry(),
  })
  const session = await open(node, demo, 'web1')
  way.cut()
  const unavailable = { code: 'ERR_DATABASE_UNAVAILABLE' }
  const end = node.endSession(session, { tenant, bytes: 7, reason: 'ended', exitStatus: 0 })
  await expect(end).rejects.toMatchObject(unavailable)
  // Fail closed: without the database there is no yes, and no no that is not on record.
  await expect(node.authorize(demo, shell)).rejects.toMatchObject(unavailable)
  expect(await fixture.access.session(tenant, session)).toMatchObject({ live: true })
  way.mend()
  await vi.waitFor(
    async () =>
      expect(await fixture.access.session(tenant, session)).toMatchObject({
        live: false,
        reason: 'ended',
        exitStatus: 0,
        bytes: 7,
      }),
    { timeout: 30_000, interval: 100 },
  )
})

test('says no to nobody whose refusal cannot be put on record', async () => {
  const { person } = await fixture.place()
  const demo = await person('demo')
  denied(await fixture.access.authorize(demo, shell))
  await fixture.database.superuser('revoke execute on function audit_append from vaultterm_app')
  try {
    await expect(fixture.access.authorize(demo, shell)).rejects.toThrow(/permission denied/)
  } finally {
    await fixture.database.superuser('grant execute on function audit_append to vaultterm_app')
  }
})
