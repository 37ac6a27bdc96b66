/**
 * `npm run scale-log [-- --leaves N --tenants N]`: what a log of many leaves among many tenants costs, in a
 * scratch database that is made and dropped here. Prints one JSON document.
 */

import { randomBytes, randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type pg from 'pg'
import { Registry } from 'prom-client'
import { type AuditEvent, createAudit } from '../../src/audit/index.ts'
import { createLog } from '../../src/log.ts'
import { openDatabase, parseTenantId, type TenantId } from '../../src/postgres/index.ts'
import { createTestSigner } from '../../test/support/audit.ts'
import { growLog, makeTenants } from '../../test/support/large-log.ts'
import { openScratch } from './scratch.ts'

const opened: AuditEvent = {
  type: 'session.open',
  public: { session: 's-1', target: 't-1' },
  private: { targetName: 'web1', login: 'root' },
}

const { values } = parseArgs({
  options: {
    leaves: { type: 'string', default: '1000000' },
    tenants: { type: 'string', default: '10000' },
  },
})
const leaves = Number(values.leaves)
const tenants = Number(values.tenants)
const say = (text: string) => process.stderr.write(`${text}\n`)
const log = createLog('warn')
const scratch = await openScratch()
const { directory, superuser: admin } = scratch
try {
  const database = openDatabase({
    url: scratch.appUrl,
    role: 'vaultterm_app',
    log,
    metrics: new Registry(),
  })
  const signer = createTestSigner()
  const audit = createAudit({
    database,
    log,
    metrics: new Registry(),
    signer: async () => signer,
    signedHeads: join(directory, 'signed-heads'),
    owner: scratch.ownerUrl,
  })
  const report: Record<string, unknown> = { leaves, tenants }
  const measure = async (name: string, work: () => Promise<unknown>, rounds = 1) => {
    const times: number[] = []
    for (let round = 0; round < rounds; round += 1) {
      const at = performance.now()
      await work()
      times.push(performance.now() - at)
    }
    const middle = times.toSorted((a, b) => a - b)[Math.floor(rounds / 2)] ?? 0
    report[name] = `${middle.toFixed(middle < 10 ? 2 : 0)} ms`
    say(`${name}: ${String(report[name])}`)
  }

  await makeTenants(admin, tenants)
  const [large, small] = [await newTenant(admin), await newTenant(admin)]
  await measure('an append to a short log', () => audit.append(small, opened), 300)
  await measure('making the leaves', () => growLog(admin, large, leaves, say))
  await measure('mending the head from all leaves', async () => {
    await admin.query("select set_config('app.tenant_id', $1, false)", [large])
    await admin.query('set role vaultterm_audit; select audit_mend(); reset role')
  })
  await admin.query('vacuum analyze')
  await measure('an append to the long log', () => audit.append(large, opened), 300)
  await measure('the first checkpoint', () => audit.checkpoint(large))
  await measure(
    'a checkpoint behind ten events',
    async () => {
      for (let at = 0; at < 10; at += 1) await audit.append(large, opened)
      await audit.checkpoint(large)
    },
    10,
  )
  await measure('a round of the publisher with nothing to do', () => audit.checkpointAll(), 20)
  await measure('the last fifty events', () => audit.tail(large, { limit: 50 }), 20)
  await measure(
    'fifty events in the middle',
    () => audit.tail(large, { after: Math.floor(leaves / 2), limit: 50 }),
    20,
  )
  await measure('reading every event', async () => {
    let count = 0
    for await (const _ of audit.entries(large)) count += 1
    if (count < leaves) throw new Error(`${count} events`)
  })
  await measure('verify', async () => {
    const { ok, faults } = await audit.verify(large)
    if (!ok) throw new Error(JSON.stringify(faults))
  })
  const { rows } = await admin.query<{ bytes: string; index: string }>(
    `select sum(pg_total_relation_size(c.oid)) as bytes, sum(pg_indexes_size(c.oid)) as index
     from pg_class c where c.relname in ('audit_leaf', 'audit_private')`,
  )
  report['bytes of a leaf on disk, with its payload and indexes'] = Math.round(
    Number(rows[0]?.bytes) / leaves,
  )
  report['memory of this process'] = `${Math.round(process.memoryUsage().rss / 2 ** 20)} MiB`
  process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`)
  await audit.close()
  await database.close()
} finally {
  await scratch.close()
}

async function newTenant(client: pg.Client): Promise<TenantId> {
  const tenant = parseTenantId(randomUUID())
  if (tenant === undefined) throw new Error('randomUUID made no UUID')
  await client.query('insert into tenant (tenant_id, slug, name) values ($1, $2, $2)', [
    tenant,
    `t${randomBytes(8).toString('hex')}`,
  ])
  return tenant
}
