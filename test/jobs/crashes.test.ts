import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterEach, expect, test } from 'vitest'
import { createJobs, type Job } from '../../src/jobs/index.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'
import { probeJobs, probeTables } from '../support/probe-jobs.ts'

/** Nodes that are killed and stopped are processes of their own. */
const fixture = await openTestDatabase()
await fixture.superuser(probeTables)
const probes = probeJobs(fixture.app)
const { jobs: url } = fixture.urls
const jobs = createJobs({ database: fixture.app, url, log: silent, metrics: new Registry() })
const acme = await fixture.createTenant()

const nodes: ChildProcess[] = []
afterEach(async () => {
  await Promise.all(nodes.splice(0).map(end))
})

async function end(node: ChildProcess): Promise<void> {
  if (node.exitCode !== null || node.signalCode !== null) return
  node.kill('SIGKILL')
  await once(node, 'exit')
}

async function startNode(): Promise<ChildProcess> {
  const program = join(import.meta.dirname, '../support/job-node.ts')
  const urls = [fixture.urls.app.reveal(), fixture.urls.jobs.reveal()]
  const node = spawn(process.execPath, [program, ...urls], { stdio: ['ignore', 'pipe', 'inherit'] })
  nodes.push(node)
  await once(node.stdout, 'data')
  // Each start of a node sets it to ten seconds, which a test need not wait for.
  await fixture.superuser('update pgboss.queue set heartbeat_seconds = 2')
  return node
}

let last = 0
async function add(kind: Job): Promise<{ readonly id: string; readonly n: number }> {
  const n = ++last
  const id = await fixture.app.write(acme, (tx) => jobs.add(tx, acme, kind, { n }))
  if (id === undefined) throw new Error('the job was not added')
  return { id, n }
}

const begun = (n: number) =>
  fixture.superuser<{ pid: number }>('select pid from probe_begin where n = $1 order by at', [n])
const written = (n: number) =>
  fixture.superuser<{ pid: number }>('select pid from probe where n = $1', [n])
const stateOf = async (id: string) => (await jobs.get(id)).state

/** A killed node's job is found by its heartbeat, and waits for its next try. */
async function untilTaken(id: string): Promise<void> {
  await expect.poll(() => stateOf(id)).not.toBe('running')
  await fixture.superuser('update pgboss.job set start_after = now() where id = $1', [id])
}

test('begins a job again on another node when its own was killed before the finish', async () => {
  const first = await startNode()
  const { id, n } = await add(probes.hangBefore)
  await expect.poll(() => begun(n)).toEqual([{ pid: first.pid }])
  const second = await startNode()
  await end(first)
  await untilTaken(id)
  await expect.poll(() => stateOf(id)).toBe('done')
  expect(await begun(n)).toEqual([{ pid: first.pid }, { pid: second.pid }])
  expect(await written(n)).toEqual([{ pid: second.pid }])
})

test('does nothing twice that was finished when its node was killed', async () => {
  const first = await startNode()
  const { id, n } = await add(probes.hangAfter)
  await expect.poll(() => written(n)).toEqual([{ pid: first.pid }])
  await end(first)
  await startNode()
  // A job that the second one takes comes behind what it would do again.
  const other = await add(probes.write)
  await expect.poll(() => stateOf(other.id)).toBe('done')
  expect(await stateOf(id)).toBe('done')
  expect([await begun(n), await written(n)]).toEqual([[{ pid: first.pid }], [{ pid: first.pid }]])
})

test('refuses the late end of a node that only slept, and keeps nothing of it', async () => {
  const first = await startNode()
  const { id, n } = await add(probes.sleep)
  await expect.poll(() => begun(n)).toEqual([{ pid: first.pid }])
  first.kill('SIGSTOP')
  const second = await startNode()
  await untilTaken(id)
  await expect.poll(() => stateOf(id)).toBe('done')
  expect(await written(n)).toEqual([{ pid: second.pid }])
  first.kill('SIGCONT')
  // It takes jobs again only after its late end was refused.
  await end(second)
  const other = await add(probes.write)
  await expect.poll(() => written(other.n)).toEqual([{ pid: first.pid }])
  await expect.poll(async () => (await jobs.get(id)).tries).toBe(2)
  expect(await written(n)).toEqual([{ pid: second.pid }])
})

test('runs each of many jobs once, over two nodes', async () => {
  const pids = [(await startNode()).pid, (await startNode()).pid]
  const many = await Promise.all(Array.from({ length: 30 }, () => add(probes.each)))
  await expect
    .poll(async () => (await jobs.list({ tenant: acme, state: 'waiting', limit: 100 })).length)
    .toBe(0)
  for (const { id } of many) await expect.poll(() => stateOf(id)).toBe('done')
  const by = await Promise.all(many.map(({ n }) => written(n)))
  expect(by.every((rows) => rows.length === 1)).toBe(true)
  expect(new Set(by.flat().map(({ pid }) => pid))).toEqual(new Set(pids))
})

test('gives a running job back to the queue when its node stops', async () => {
  const first = await startNode()
  const { id, n } = await add(probes.hangBefore)
  await expect.poll(() => begun(n)).toHaveLength(1)
  first.kill('SIGTERM')
  await once(first, 'exit')
  expect(first.exitCode).toBe(0)
  expect(await jobs.get(id)).toMatchObject({ state: 'waiting', tries: 1 })
  expect(await written(n)).toEqual([])
})
