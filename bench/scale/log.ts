/**
 * `bin/run scale-log [--leaves N] [--tenants N]`: what a log of many leaves among many tenants costs, in a
 * scratch database that is made and dropped here. Prints one JSON document.
 */

import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import pg from 'pg'
import { Registry } from 'prom-client'
import { type AuditEvent, createAudit } from '../../src/audit/index.ts'
import { startPostgres } from '../../src/local/index.ts'
import { createLog } from '../../src/log.ts'
import { migrate, openDatabase, parseTenantId, type TenantId } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'
import { createTestSigner } from '../../test/support/audit.ts'
import { growLog, makeTenants } from '../../test/support/large-log.ts'

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
const directory = await mkdtemp(join(tmpdir(), 'vaultterm-scale-'))
const postgres = await startPostgres({
  directory: join(directory, 'postgres'),
  superuserPassword: new Secret(randomBytes(18).toString('base64url')),
  log,
  settings: { max_wal_size: '4GB' },
})
const admin = new pg.Client({ connectionString: postgres.superuserUrl.reveal() })
try {
  await admin.connect()
  const url = (login: string) => {
    const one = new URL(postgres.superuserUrl.reveal())
    Object.assign(one, { username: login, password: login })
    return new Secret(one.href)
  }
  await admin.query("create role scale_owner login createrole password 'scale_owner'")
  await admin.query("create role scale_app login password 'scale_app'")
  await admin.query('grant create on database postgres to scale_owner')
  await admin.query('alter schema public owner to scale_owner')
  const migrations = resolve(import.meta.dirname, '../../migrations')
  await migrate({ url: url('scale_owner'), directory: migrations, log })
  await admin.query('grant vaultterm_app, vaultterm_system to scale_app')

  const database = openDatabase({
    url: url('scale_app'),
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
    owner: url('scale_owner'),
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
  await admin.end()
  await postgres.stop()
  await rm(directory, { recursive: true, force: true })
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
