/** A process that serves, appends one event and cannot come to its end: told to stop, it waits for ever. */

import { join } from 'node:path'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { createAudit } from '../../src/audit/index.ts'
import { parseConfig } from '../../src/config.ts'
import { runUntilStopped } from '../../src/main/run.ts'
import { openDatabase, parseTenantId } from '../../src/postgres/index.ts'
import { Secret } from '../../src/secret.ts'

const log = pino({ level: 'silent' })
const { HOME_OF_IT: home = '', URL_OF_IT: url = '', TENANT = '' } = process.env
const tenant = parseTenantId(TENANT)
if (tenant === undefined) throw new Error('no tenant')
const metrics = new Registry()
const database = openDatabase({ url: new Secret(url), role: 'vaultterm_app', log, metrics })
const audit = createAudit({
  database,
  log,
  metrics,
  signedHeads: join(home, 'signed-heads'),
})
const { eventId } = await audit.append(tenant, {
  type: 'session.open',
  public: { session: 's-1' },
})
const nowhere = { host: '127.0.0.1', port: 0 }
await runUntilStopped({ config: parseConfig({}), log, tell: () => {} }, async ({ closing }) => {
  closing.defer(() => audit.close())
  // Once it listens for signals.
  setImmediate(() => process.send?.(eventId))
  // Closed first, as the sessions are.
  closing.defer(() => new Promise(() => {}))
  return {
    ready: { ssh: nowhere, portal: nowhere, admin: nowhere },
    sessions: 0,
    lost: new Promise(() => {}),
    drain: async () => true,
    restartWorkers: async () => {
      setImmediate(() => {
        throw new Error('nobody catches this')
      })
    },
    keepUnsigned: () => audit.keepUnsigned(),
    close: async () => {},
  }
})
