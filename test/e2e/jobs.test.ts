import { afterEach, expect, test } from 'vitest'
import { connectSuperuser, events, eventually } from '../support/installation.ts'
import { VaultTerm } from '../support/vaultterm.ts'

const open: VaultTerm[] = []
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function asSuperuser(vaultterm: VaultTerm, text: string): Promise<void> {
  const client = await connectSuperuser(vaultterm)
  try {
    await client.query(text)
  } finally {
    await client.end()
  }
}

interface JobRow {
  readonly id: string
  readonly tenant: string | null
  readonly kind: string
  readonly state: string
}

interface Readiness {
  readonly ready: boolean
  readonly checks: { readonly [name: string]: { readonly ok: boolean; readonly code?: string } }
}

async function readiness(vaultterm: VaultTerm) {
  const response = await fetch(`${vaultterm.ready.portal}/readyz`)
  return { status: response.status, report: (await response.json()) as Readiness }
}

const isUp = (vaultterm: VaultTerm) =>
  eventually(
    async () => ((await readiness(vaultterm)).report.checks.jobs?.ok === true ? true : undefined),
    'the queue to work',
  )

test('a queue that is down stops no login, no start and no readiness, and says so', async () => {
  const vaultterm = await VaultTerm.start()
  open.push(vaultterm)
  await isUp(vaultterm)
  // Its schema is one of another version: no node may work with it.
  await asSuperuser(vaultterm, 'update pgboss.version set version = 47')
  vaultterm.signal('SIGTERM')
  expect(await vaultterm.exited()).toBe(0)
  await vaultterm.up()
  const { stdout, stderr } = await vaultterm.ssh(['acme', 'echo', 'I am in'])
  expect(stdout, stderr).toBe('I am in\n')
  const link = await vaultterm.json<{ url: string }>('web-login', 'acme', 'demo')
  expect((await fetch(link.url)).status).toBeLessThan(400)
  expect(await readiness(vaultterm)).toMatchObject({
    status: 200,
    report: { ready: true, checks: { jobs: { ok: false, code: 'ERR_JOBS_DOWN' } } },
  })
  const doctor = await vaultterm.cli(['doctor', '--json'])
  expect(doctor.code).toBe(1)
  const findings = JSON.parse(doctor.stdout) as { name: string; ok: boolean }[]
  expect(findings.filter(({ ok }) => !ok).map(({ name }) => name)).toEqual(['jobs'])
  await asSuperuser(vaultterm, 'update pgboss.version set version = 46')
  await isUp(vaultterm)
  expect((await vaultterm.cli(['doctor'])).code).toBe(0)
})

test('the operator sees scheduled work, and cancels a job on the record', async () => {
  const vaultterm = await VaultTerm.start()
  open.push(vaultterm)
  const list = (...args: string[]) => vaultterm.json<JobRow[]>('job', 'list', ...args)
  const sweep = await eventually(
    async () => (await list('acme')).find(({ kind }) => kind === 'auth.sweep'),
    'the first minute of a schedule',
    150_000,
  )
  // It may begin at any moment of an hour.
  await asSuperuser(
    vaultterm,
    "update pgboss.job set start_after = now() + interval '1 day' where state = 'created'",
  )
  expect((await list()).map(({ kind }) => kind)).toEqual(
    expect.arrayContaining(['jobs.each-tenant', 'auth.sweep']),
  )
  await vaultterm.json('job', 'cancel', sweep.id)
  expect(await vaultterm.json('job', 'show', sweep.id)).toMatchObject({
    kind: 'auth.sweep',
    tenant: 'acme',
    state: 'cancelled',
  })
  expect((await events(vaultterm)).at(-1)).toMatchObject({
    type: 'job.cancel',
    public: { job: sweep.id, jobKind: 'auth.sweep', actorKind: 'operator' },
  })
  const retried = await vaultterm.cli(['job', 'retry', sweep.id])
  expect([retried.code, retried.stderr]).toEqual([1, expect.stringContaining('(ERR_JOB_STATE)')])
  const missing = await vaultterm.cli(['job', 'show', 'nothing'])
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('(ERR_JOB_MISSING)')])
})
