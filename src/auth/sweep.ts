import { z } from 'zod'
import { job, type Schedule } from '../jobs/index.ts'
import { removeExpired } from './queries.ts'
import { idleSeconds } from './web-login.ts'

/** Removes a tenant's links and web sessions that have expired. Every use of one looks at its time by itself. */
export const sweepLogins = job({
  kind: 'auth.sweep',
  lane: 'quick',
  input: z.strictObject({}),
  key: () => 'sweep',
  run: (_, turn) => turn.finish((tx) => removeExpired(tx, idleSeconds)),
})

export const sweepLoginsDaily: Schedule = {
  name: 'auth.sweep',
  everySeconds: 24 * 3600,
  spreadSeconds: 3600,
  job: sweepLogins,
  for: 'each-tenant',
}
