import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { type Job, job } from '../../src/jobs/index.ts'
import type { Database, TenantId } from '../../src/postgres/index.ts'

/** Tables of the probes: what was begun, by which process, and what has committed. */
export const probeTables = `
  create table probe_begin (tenant uuid, n int, pid int, at timestamptz default clock_timestamp());
  create table probe (tenant uuid, n int, pid int);
  grant select, insert on probe_begin, probe to vaultterm_app`

const input = z.strictObject({ n: z.int() })

/** Fails as a fault of ours would: with words and fields that must not be kept. */
export class ProbeFailure extends Error {
  readonly code = 'ERR_PROBE'
  readonly detail = 'hunter2secret'
}

/** Jobs whose turns a test can count. */
export function probeJobs(database: Database) {
  const begin = (tenant: TenantId, n: number) =>
    database.write(tenant, async (tx) => {
      await tx.run('insert into probe_begin (tenant, n, pid) values ($1, $2, $3)', [
        tenant,
        n,
        process.pid,
      ])
      const { count } = await tx.one<{ count: number }>(
        'select count(*) as count from probe_begin where tenant = $1 and n = $2',
        [tenant, n],
      )
      return count
    })
  const make = (
    kind: string,
    { hangs, isKeyed = true }: { hangs?: 'before' | 'after'; isKeyed?: boolean },
  ) =>
    job({
      kind,
      lane: 'quick',
      input,
      ...(isKeyed && { key: ({ n }: { n: number }) => String(n) }),
      async run({ n }, turn) {
        const begun = await begin(turn.tenant, n)
        if (hangs === 'before' && begun === 1) await hang(turn.signal)
        await turn.finish(async (tx) => {
          await tx.run('insert into probe (tenant, n, pid) values ($1, $2, $3)', [
            turn.tenant,
            n,
            process.pid,
          ])
        })
        if (hangs === 'after' && begun === 1) await hang(turn.signal)
      },
    })
  return {
    write: make('probe.write', {}),
    each: make('probe.each', { isKeyed: false }),
    /** The first try hangs before its finish. */
    hangBefore: make('probe.hang-before', { hangs: 'before' }),
    hangAfter: make('probe.hang-after', { hangs: 'after' }),
    /** Hangs before its finish whatever its signal says, as a process that only slept. */
    sleep: job({
      kind: 'probe.sleep',
      lane: 'quick',
      input,
      key: ({ n }) => String(n),
      async run({ n }, turn) {
        if ((await begin(turn.tenant, n)) === 1) await sleep(3000)
        await turn.finish(async (tx) => {
          await tx.run('insert into probe (tenant, n, pid) values ($1, $2, $3)', [
            turn.tenant,
            n,
            process.pid,
          ])
        })
      },
    }),
    fail: job({
      kind: 'probe.fail',
      lane: 'quick',
      input,
      key: ({ n }) => String(n),
      async run({ n }, turn) {
        await turn.report({ done: 1, total: 3, note: 'on the way' })
        if ((await begin(turn.tenant, n)) === 1) throw new ProbeFailure('hunter2secret')
        await turn.finish(async () => {})
      },
    }),
    forgets: job({
      kind: 'probe.forgets',
      lane: 'slow',
      input,
      run: async () => {},
    }),
  }
}

export function jobsOf(probes: ReturnType<typeof probeJobs>): readonly Job[] {
  return Object.values(probes)
}

/** Until the signal, which comes at the latest when the node stops. */
function hang(signal: AbortSignal): Promise<void> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new ProbeFailure('aborted')), { once: true })
    // Keeps the process.
    setTimeout(() => {}, 600_000).unref()
  })
}
