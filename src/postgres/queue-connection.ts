import pg from 'pg'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Secret } from '../secret.ts'
import { DatabaseRoleWrong, DatabaseUnavailable, translate } from './errors.ts'
import { Listener, type Listening } from './listener.ts'
import { databaseMetrics } from './metrics.ts'
import { connectionConfig, connectReason, defaultLimits, openPool } from './pool.ts'

const role = 'vaultterm_jobs'
/** Its upkeep deletes old jobs, which may take longer than a statement of an act. */
const limits = { ...defaultLimits, connectionsMax: 4, statementMs: 60_000, waitMs: 5000 }

/**
 * The database as the job queue's own role: no tenant's, and without any right on our tables but the queue's.
 * Connects when first used.
 */
export interface QueueConnection {
  /** One statement with values, or several without. Errors of the server are thrown unchanged. */
  executeSql(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
  /** As Database.listen(). */
  listen(channel: string, onPayload: (payload: string | undefined) => void): Promise<Listening>
  /** Resolves when the server answers and the login may take on the role. */
  ping(): Promise<void>
  close(): Promise<void>
}

export function openQueueConnection({
  url,
  log,
  metrics,
}: {
  readonly url: Secret<string>
  readonly log: Log
  readonly metrics: Metrics
}): QueueConnection {
  const scoped = log.child({ module: 'postgres', role })
  const pool = openPool(url, role, role, limits, undefined)
  pool.on('error', (err) => {
    if (!pool.ending) scoped.warn({ err: connectReason(err) }, 'idle connection lost')
  })
  const listener = new Listener(connectionConfig(url, limits), scoped)
  const { connections } = databaseMetrics(metrics)
  const executeSql: QueueConnection['executeSql'] = async (text, values) => {
    try {
      return await pool.query(text, values)
    } catch (err) {
      throw failureOf(err)
    } finally {
      connections.set({ role, state: 'used' }, pool.totalCount - pool.idleCount)
      connections.set({ role, state: 'idle' }, pool.idleCount)
    }
  }
  return {
    executeSql,
    listen: (channel, onPayload) => listener.listen(channel, onPayload),
    async ping() {
      await executeSql('select 1')
    },
    async close() {
      await listener.close()
      if (!pool.ending) await pool.end()
    },
  }
}

/** The library reads the codes of refusals by the server. The URL is in no message. */
function failureOf(err: unknown): unknown {
  if (err instanceof DatabaseRoleWrong) return err
  if (err instanceof pg.DatabaseError) return translate(err, true)
  return new DatabaseUnavailable(connectReason(err), err)
}
