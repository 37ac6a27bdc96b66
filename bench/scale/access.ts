/**
 * `npm run scale [-- --json | --explain]`: what access asks at each login and each jump, in a scratch database of 10,000
 * tenants and 100,000 targets, with tenants of 10,000 targets and 10,000 grants. Fails where a question reads
 * a table from end to end, or takes longer in the database than it may.
 */

import { parseArgs } from 'node:util'
import pg from 'pg'
import { Registry } from 'prom-client'
import { createAccess } from '../../src/access/index.ts'
import { createLog } from '../../src/log.ts'
import { openDatabase } from '../../src/postgres/index.ts'
import {
  distributions,
  makeLargeTenant,
  makeSmallTenants,
} from '../../test/support/large-tenants.ts'
import { explain, recordStatements } from '../../test/support/statements.ts'
import { questionsOf } from './questions.ts'
import { openScratch } from './scratch.ts'

const msMax = 2
const rounds = 11
const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    /** Prints the plans of what is too much. */
    explain: { type: 'boolean', default: false },
    tenants: { type: 'string', default: '10000' },
    targets: { type: 'string', default: '10000' },
  },
})
const count = Number(values.targets)
const say = (text: string) => process.stderr.write(`${text}\n`)
const log = createLog('warn')
const scratch = await openScratch()
const { superuser } = scratch
try {
  await measure()
} finally {
  await scratch.close()
}

async function measure(): Promise<void> {
  const metrics = new Registry()
  const app = openDatabase({ url: scratch.appUrl, role: 'vaultterm_app', log, metrics })
  const recorded = recordStatements(app)
  const notAsked = () => Promise.reject(new Error('not asked'))
  const access = createAccess({
    database: recorded.database,
    // The rows are made by SQL and have no tags; a tag costs no statement of the ones measured here.
    vault: {
      lease: notAsked,
      tagging: notAsked,
      areIntact: async (_tenant, rows) => rows.map(() => true),
    },
    ca: { leaseUpstream: notAsked, trust: notAsked },
    registry: undefined,
    log,
    metrics,
  })
  const client = new pg.Client({ connectionString: scratch.appUrl.reveal() })
  await client.connect()
  await client.query('set role vaultterm_app')

  say(`making ${values.tenants} tenants with 9 targets each`)
  await makeSmallTenants(superuser, { tenants: Number(values.tenants), targets: 9 })
  const tenants = []
  for (const distribution of distributions) {
    say(`making a tenant of ${count} targets and ${count} grants: ${distribution}`)
    tenants.push(await makeLargeTenant(superuser, distribution, count))
  }
  await superuser.query('vacuum analyze')

  const lines = []
  for (const tenant of tenants) {
    for (const { name, rowsMax, ask } of questionsOf(tenant, count)) {
      recorded.taken()
      await ask(access)
      const statements = recorded.taken()
      for (const plan of ['custom', 'generic'] as const) {
        const times: number[] = []
        let rowsRead = 0
        let plans: readonly string[] = []
        const scanned = new Set<string>()
        for (let round = 0; round < rounds; round += 1) {
          const done = []
          for (const each of statements) done.push(await explain(client, tenant.id, each, plan))
          times.push(done.reduce((sum, { ms }) => sum + ms, 0))
          rowsRead = done.reduce((sum, one) => sum + one.rowsRead, 0)
          plans = done.flatMap((one) => one.plan)
          for (const table of done.flatMap((one) => one.scanned)) scanned.add(table)
        }
        // The quickest: the rest of a slower one is what else the machine had to do.
        const ms = Math.min(...times)
        const isBounded = rowsMax !== undefined
        const ok = !isBounded || (ms <= msMax && rowsRead <= rowsMax && scanned.size === 0)
        if (!ok) process.exitCode = 1
        if (!ok && values.explain) say(plans.join('\n'))
        const { distribution } = tenant
        lines.push({ name, distribution, plan, ms, rowsRead, scanned: [...scanned], ok })
        if (!values.json) {
          const line = [distribution.padEnd(8), plan.padEnd(8), ms.toFixed(2).padStart(8), 'ms']
          console.log(
            `${line.join(' ')} ${String(rowsRead).padStart(6)} rows  ${name}${ok ? '' : '  TOO MUCH'}`,
          )
        }
      }
    }
  }
  if (values.json) console.log(JSON.stringify(lines, undefined, 2))
  await client.end()
  await app.close()
}
