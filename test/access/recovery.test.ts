import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { Access, SessionStart } from '../../src/access/index.ts'
import { findWitness, keepWitnesses } from '../../src/access/witness-queries.ts'
import { appendEvent } from '../../src/audit/index.ts'
import type { Identity } from '../../src/auth/index.ts'
import {
  endExpiredInstances,
  listOverdueInstances,
  newInstanceId,
  type TenantId,
} from '../../src/postgres/index.ts'
import type { Recorder, SessionId, Unended } from '../../src/recorder/index.ts'
import { type TestRecorder, testRecorder } from '../support/recording.ts'
import { open, openAccessFixture, type ServingProcess } from './access-fixture.ts'

const fixture = await openAccessFixture()
const { database } = fixture

/** As when its process has been killed: nobody renews its lease, which runs out. */
async function loseLease({ lease }: ServingProcess): Promise<void> {
  await database.pastTriggers(
    "update node_instance set lease_until = clock_timestamp() - interval '1 s' where id = $1",
    [lease.instance],
  )
}

/** Lets a process find and end what others have lost, until the condition holds. */
async function recovers(
  { recover }: ServingProcess,
  mend: (unended: Unended) => ReturnType<Recorder['recover']>,
  condition: () => Promise<void>,
): Promise<void> {
  const stop = recover(mend)
  try {
    await vi.waitFor(condition, { timeout: 30_000, interval: 50 })
  } finally {
    await stop()
  }
}

const ended = (access: Access, tenant: TenantId, session: SessionId) => async () =>
  expect(await access.session(tenant, session)).toMatchObject({ live: false })

const noRecording = async () => ({ outcome: 'missing' }) as const
const record = (its: TestRecorder) => (unended: Unended) => its.recorder.recover(unended)

test('ends the sessions of a process that lost its lease, with their recordings, and no others', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  await using its = await testRecorder()
  const [lost, other, next] = [await fixture.serve(), await fixture.serve(), await fixture.serve()]
  const seen = await open(lost.access, demo, 'web1')
  const unseen = await open(lost.access, demo, 'web1')
  const elsewhere = await open(other.access, demo, 'web1')
  const { output } = await its.begin({ tenant, session: seen })
  await output('before the crash')
  await loseLease(lost)
  await recovers(next, record(its), ended(next.access, tenant, unseen))
  expect(await next.access.session(tenant, seen)).toMatchObject({
    live: false,
    reason: 'interrupted',
    recording: true,
    recordingSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    bytes: null,
  })
  expect(await next.access.session(tenant, unseen)).toMatchObject({
    live: false,
    reason: 'interrupted',
    recording: false,
  })
  expect(await next.access.session(tenant, elsewhere)).toMatchObject({ live: true })
  const logged = (await events()).filter(({ type }) => /recovered|end$/.test(type))
  expect(logged.map(({ type, public: facts }) => [type, facts.session])).toEqual([
    ['recording.recovered', seen],
    ['session.end', seen],
    ['session.end', unseen],
  ])
  expect(logged[0]).toMatchObject({ public: { cutBytes: '0' } })
})

test('leaves the sessions of a second process alone that has the same name', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const [first, second] = [await fixture.serve('copied-home'), await fixture.serve('copied-home')]
  const ours = await open(first.access, demo, 'web1')
  const theirs = await open(second.access, demo, 'web1')
  const lost = await fixture.serve('copied-home')
  const dead = await open(lost.access, demo, 'web1')
  await loseLease(lost)
  for (const each of [first, second]) {
    await recovers(each, noRecording, ended(each.access, tenant, dead))
  }
  for (const session of [ours, theirs]) {
    expect(await first.access.session(tenant, session)).toMatchObject({ live: true })
  }
})

test('ends what a process left that stopped in good order', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const [stopped, next] = [await fixture.serve(), await fixture.serve()]
  const session = await open(stopped.access, demo, 'web1')
  await stopped.lease.release()
  await recovers(next, noRecording, ended(next.access, tenant, session))
})

test('attack: a process that wakes after its lease was taken writes nothing', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const [stopped, next] = [await fixture.serve(), await fixture.serve()]
  const session = await open(stopped.access, demo, 'web1')
  const authorization = await stopped.access.authorize(demo, { target: 'web1', kind: 'shell' })
  if ('denied' in authorization) throw new Error(authorization.message)
  await loseLease(stopped)
  await recovers(next, noRecording, ended(next.access, tenant, session))
  const before = await events()
  const lost = { code: 'ERR_NODE_LEASE_LOST' }
  const facts: SessionStart = {
    ...{ kind: 'shell' as const, via: 'direct' as const, source: '', clientIdent: '' },
    ...{ node: 'n', recording: true },
  }
  await expect(stopped.access.startSession(authorization, facts)).rejects.toMatchObject(lost)
  await expect(
    stopped.access.recordFiles(demo, authorization, session, [
      { op: 'remove', path: Buffer.from('/x'), number: 1 },
    ]),
  ).rejects.toMatchObject(lost)
  await expect(
    stopped.access.authorize(demo, { kind: 'exec', target: 'no' }),
  ).rejects.toMatchObject(lost)
  await expect(
    stopped.access.endSession(session, { tenant, bytes: 7, reason: 'ended' }),
  ).rejects.toMatchObject(lost)
  expect(await events()).toEqual(before)
  expect(await next.access.session(tenant, session)).toMatchObject({ reason: 'interrupted' })
  expect((await next.access.sessions(tenant)).length).toBe(1)
})

test('one tenant’s damaged log holds up no other tenant, and is tried again', async () => {
  const [damaged, sound] = [await fixture.grantedPlace(), await fixture.grantedPlace()]
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const stuck: SessionId[] = []
  for (let i = 0; i < 5; i++) stuck.push(await open(lost.access, damaged.demo, 'web1'))
  const free = await open(lost.access, sound.demo, 'web1')
  await withDamagedHead(damaged.tenant, async () => {
    await loseLease(lost)
    await recovers(next, noRecording, ended(next.access, sound.tenant, free))
    for (const session of stuck) {
      expect(await next.access.session(damaged.tenant, session)).toMatchObject({ live: true })
    }
  })
  await recovers(next, noRecording, async () => {
    for (const session of stuck) await ended(next.access, damaged.tenant, session)()
  })
})

/** A log that takes nothing, as a wrong head makes it. */
async function withDamagedHead(tenant: TenantId, work: () => Promise<void>): Promise<void> {
  await database.superuser('alter table audit_tree disable trigger user')
  const [tree] = await database.superuser<{ hashes: Buffer[] }>(
    "update audit_tree t set hashes = '{}' from audit_tree old where t.tenant_id = $1 and old.tenant_id = $1 returning old.hashes",
    [tenant],
  )
  try {
    // A head of an odd size needs its hashes for the next leaf.
    const [{ size } = { size: 0 }] = await database.superuser<{ size: number }>(
      'select size::int as size from audit_tree where tenant_id = $1',
      [tenant],
    )
    if (Number(size) % 2 === 0) {
      await database.superuser('update audit_tree set size = size + 1 where tenant_id = $1', [
        tenant,
      ])
    }
    await work()
    await database.superuser(
      'update audit_tree set hashes = $2, size = (select count(*) from audit_leaf where tenant_id = $1) where tenant_id = $1',
      [tenant, tree?.hashes],
    )
  } finally {
    await database.superuser('alter table audit_tree enable trigger user')
  }
}

test('puts an end on record also where the recording cannot be read, which follows later', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const session = await open(lost.access, demo, 'web1')
  const { output } = await its.begin({ tenant, session })
  await output('on a disk that is away')
  await loseLease(lost)
  let isAway = true
  const mend = async (unended: Unended) => {
    if (isAway) throw new Error('disk away')
    return its.recorder.recover(unended)
  }
  await recovers(next, mend, ended(next.access, tenant, session))
  expect(await next.access.session(tenant, session)).toMatchObject({
    reason: 'interrupted',
    recording: false,
  })
  isAway = false
  await recovers(next, mend, async () => {
    expect(await next.access.session(tenant, session)).toMatchObject({ recording: true })
  })
  expect((await events()).map(({ type }) => type).slice(-2)).toEqual([
    'session.end',
    'recording.recovered',
  ])
})

test('finds a recording when the node comes back that has its disk', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve('with-disk'), await fixture.serve('without')]
  const session = await open(lost.access, demo, 'web1', { node: 'with-disk' })
  const { output } = await its.begin({ tenant, session })
  await output('on its own disk')
  await loseLease(lost)
  await recovers(next, noRecording, ended(next.access, tenant, session))
  expect(await next.access.session(tenant, session)).toMatchObject({ recording: false })
  await next.lease.release()
  const back = await fixture.serve('with-disk')
  await recovers(back, record(its), async () => {
    expect(await back.access.session(tenant, session)).toMatchObject({ recording: true })
  })
})

test('finds a recording when its node is back, also while the process lives that ended its session', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve('with-its-disk'), await fixture.serve('diskless')]
  const session = await open(lost.access, demo, 'web1', { node: 'with-its-disk' })
  const plain = await open(lost.access, demo, 'web1', {
    ...{ node: 'with-its-disk', recording: false },
  })
  const { output } = await its.begin({ tenant, session })
  await output('on its own disk')
  await loseLease(lost)
  await recovers(next, noRecording, async () => {
    await ended(next.access, tenant, session)()
    await ended(next.access, tenant, plain)()
  })
  // Nobody knows yet whether there is a recording; of the other one it is known that there is none.
  const ends = (await events()).filter(({ type }) => type === 'session.end')
  const endOf = (id: SessionId) => ends.find((one) => one.public.session === id)?.public
  expect(endOf(session)).not.toHaveProperty('recording')
  expect(endOf(plain)).toMatchObject({ recording: false })

  const back = await fixture.serve('with-its-disk')
  // It is not touched while the other process may be at it.
  const stop = back.recover(record(its))
  await sleep(300)
  await stop()
  expect(await back.access.session(tenant, session)).toMatchObject({ recording: false })
  await database.pastTriggers(
    "update node_instance set ended_at = ended_at - interval '3 minutes' where id = $1",
    [lost.lease.instance],
  )
  await recovers(next, noRecording, async () => {
    const [row] = await database.superuser<{ by: string | null }>(
      'select recovered_by as by from node_instance where id = $1',
      [lost.lease.instance],
    )
    expect(row).toEqual({ by: null })
  })
  const again = await fixture.serve('with-its-disk')
  await recovers(again, record(its), async () => {
    expect(await again.access.session(tenant, session)).toMatchObject({ recording: true })
  })
  expect((await events()).at(-1)).toMatchObject({
    type: 'recording.recovered',
    public: { session },
  })
})

test('says when the last byte was, and unknown where nobody knows', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const known = await open(lost.access, demo, 'web1')
  const unknown = await open(lost.access, demo, 'web1', { recording: false })
  const path = `${its.directory}/${tenant}/${known}.cast`
  const startedAt = (await next.access.session(tenant, known))?.startedAt ?? ''
  const seconds = Math.ceil(Date.parse(startedAt) / 1000)
  await database.pastTriggers("update session set started_at = started_at - interval '1 hour'")
  await mkdir(dirname(path), { recursive: true })
  const header = { version: 3, term: { cols: 80, rows: 24 }, timestamp: seconds - 3000 }
  await writeFile(path, `${JSON.stringify(header)}\n[0.5,"o","a"]\n[100.0,"o","b"]\n`)
  await loseLease(lost)
  await recovers(next, record(its), async () => {
    for (const session of [known, unknown]) await ended(next.access, tenant, session)()
  })
  expect(await next.access.session(tenant, known)).toMatchObject({
    endedAt: new Date((seconds - 3000) * 1000 + 100_500).toISOString(),
    bytes: null,
  })
  expect(await next.access.session(tenant, unknown)).toMatchObject({
    endedAt: null,
    live: false,
    bytes: null,
  })
  const ends = (await events()).filter(({ type }) => type === 'session.end')
  expect(ends.find(({ public: facts }) => facts.session === unknown)).toMatchObject({
    public: { bytes: 'unknown', durationMs: 'unknown' },
  })
  expect(ends.find(({ public: facts }) => facts.session === known)?.public).toMatchObject({
    bytes: 'unknown',
    durationMs: expect.stringMatching(/^\d+$/),
  })
})

/** A session with a recording that its process was told of as it grew. */
async function witnessed(
  its: TestRecorder,
  process: ServingProcess,
  place: { tenant: TenantId; demo: Identity },
  facts: Partial<SessionStart> = {},
) {
  const session = await open(process.access, place.demo, 'web1', facts)
  const told = Promise.withResolvers<void>()
  const begun = await its.begin({
    tenant: place.tenant,
    session,
    onDurable(point) {
      process.access.witnessRecording(session, point)
      told.resolve()
    },
  })
  await begun.output('rm -rf /\r\n')
  await told.promise
  return { ...begun, session }
}

const forge = (path: string) =>
  writeFile(path, '{"version":3,"term":{"cols":80,"rows":24}}\n[0.5,"o","ls\\r\\n"]\n')

test('attack: tells that a worker forged its recording before it died', async () => {
  const place = await fixture.grantedPlace()
  await using its = await testRecorder()
  const process = await fixture.serve()
  const forged = await witnessed(its, process, place)
  const honest = await witnessed(its, process, place)
  await forge(forged.path)
  const { tenant } = place
  const dead = [forged, honest].map(({ session }) => ({ tenant, session }))
  await process.access.interruptSessions(dead, record(its))
  expect(await process.access.session(tenant, forged.session)).toMatchObject({
    recordingIntact: false,
  })
  expect(await process.access.session(tenant, honest.session)).toMatchObject({
    recordingIntact: true,
  })
  const recovered = (await place.events()).filter(({ type }) => type === 'recording.recovered')
  expect(recovered.map(({ public: facts }) => [facts.session, facts.tampered])).toEqual([
    [forged.session, true],
    [honest.session, false],
  ])
})

test('attack: tells it also when the process died that had been told', async () => {
  const place = await fixture.grantedPlace()
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const { session, path } = await witnessed(its, lost, place)
  // What it saves now and then.
  await lost.access.close()
  await forge(path)
  await loseLease(lost)
  await recovers(next, record(its), ended(next.access, place.tenant, session))
  expect(await next.access.session(place.tenant, session)).toMatchObject({ recordingIntact: false })
})

test('attack: a worker that ends a session without its recording has told of it before', async () => {
  const place = await fixture.grantedPlace()
  await using its = await testRecorder()
  const process = await fixture.serve()
  const { session, path } = await witnessed(its, process, place)
  await rm(path)
  const { tenant } = place
  await process.access.endSession(session, { tenant, bytes: 10, reason: 'ended' })
  expect(await process.access.session(tenant, session)).toMatchObject({
    recording: false,
    recordingIntact: false,
  })
})

test('binds on the log what was witnessed of a recording that ended in good order', async () => {
  const place = await fixture.grantedPlace()
  await using its = await testRecorder()
  const process = await fixture.serve()
  const { session, recording } = await witnessed(its, process, place)
  const digest = await recording.end()
  const { tenant } = place
  await process.access.endSession(session, {
    tenant,
    bytes: 10,
    reason: 'ended',
    recording: digest,
  })
  const kept = await process.access.recordingWitness(tenant, session)
  expect(kept).toMatchObject({ bytes: digest.bytes })
  const [end] = (await place.events()).filter(({ type }) => type === 'session.end')
  expect(end?.public.recordingChain).toBe(`sha256:${kept?.chain}`)
})

test('ends a session of its own that it has forgotten, and none that it has', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const process = await fixture.serve()
  const forgotten = await open(process.access, demo, 'web1')
  // Of the same instance, without its memory.
  const twin = process.twin()
  const kept = await open(twin.access, demo, 'web1')
  await recovers(twin, noRecording, ended(twin.access, tenant, forgotten))
  expect(await twin.access.session(tenant, kept)).toMatchObject({ live: true })
})

test('attack: a process that lost its lease keeps no witness of a recording', async () => {
  const place = await fixture.grantedPlace()
  const [process, other] = [await fixture.serve(), await fixture.serve()]
  const { lease } = process
  const session = await open(other.access, place.demo, 'web1')
  const woken = database.open('vaultterm_app', {}, undefined, lease.instance)
  const keep = (bytes: number) =>
    woken.write(place.tenant, (tx) =>
      keepWitnesses(tx, [
        {
          session,
          kept: { bytes, offsets: Buffer.of(bytes), chain: 'ab'.repeat(32) },
          agoMs: 0,
        },
      ]),
    )
  const kept = async () =>
    (await database.app.read(place.tenant, (tx) => findWitness(tx, session)))?.kept.bytes
  const lose = () =>
    database.superuser(
      "update node_instance set ended_at = clock_timestamp(), ended = 'expired' where id = $1",
      [lease.instance],
    )
  const regain = () =>
    database.pastTriggers('update node_instance set ended_at = null, ended = null where id = $1', [
      lease.instance,
    ])
  await lose()
  await expect(keep(1)).rejects.toMatchObject({ code: 'ERR_NODE_LEASE_LOST' })
  expect(await kept()).toBeUndefined()
  await regain()
  await keep(2)
  await lose()
  // Nor does it go on with one that it kept before.
  await expect(keep(3)).rejects.toMatchObject({ code: 'ERR_NODE_LEASE_LOST' })
  expect(await kept()).toBe(2)
})

test('seeks no recording of a session that had none', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const without = await open(lost.access, demo, 'web1', { recording: false })
  const recorded = await open(lost.access, demo, 'web1')
  await loseLease(lost)
  // Neither has a file where the next process looks.
  await recovers(next, noRecording, async () => {
    for (const session of [without, recorded])
      expect(await next.access.session(tenant, session)).toMatchObject({ live: false })
  })
  const rows = await database.superuser(
    'select id, recording_sought as sought from session where tenant_id = $1 order by id',
    [tenant],
  )
  expect(rows).toEqual([
    { id: without, sought: false },
    { id: recorded, sought: true },
  ])
})

/** A recorded session that has ended in good order. */
async function sealed(
  its: TestRecorder,
  process: ServingProcess,
  place: { tenant: TenantId; demo: Identity },
  facts: Partial<SessionStart> = {},
) {
  const { tenant } = place
  const session = await open(process.access, place.demo, 'web1', facts)
  const { recording, output, path } = await its.begin({ tenant, session })
  await output('evidence')
  const digest = await recording.end()
  const outcome = { tenant, bytes: 8, reason: 'ended', recording: digest }
  await process.access.endSession(session, outcome)
  return { session, path, digest }
}

const digestsOf = async (
  place: Awaited<ReturnType<typeof fixture.grantedPlace>>,
  session: SessionId,
) =>
  (await place.events()).flatMap(({ public: facts }) =>
    facts.session === session && facts.recordingDigest !== undefined ? facts.recordingDigest : [],
  )

/** Any statement of a login that serves. */
const asApp = (tenant: TenantId, text: string, session: SessionId) =>
  database.app.write(tenant, (tx) => tx.run(`update session set ${text} where id = $1`, [session]))

const digestless =
  'recording_sha256 = null, recording_bytes = null, recording_events = null, recording_complete = null'

test.each([
  'ended_at = null, reason = null',
  `ended_at = null, end_known = true, reason = null, ${digestless}`,
  "ended_at = ended_at - interval '1 hour'",
  "reason = 'idle'",
  'exit_status = 0',
  'bytes = 1',
  'recording_sought = true',
  `recording_sought = true, ${digestless}`,
  "recording_sha256 = sha256('forged')",
  'recording = false',
  'recording_intact = false',
  'opened_at = null, recording_intact = true',
])('attack: no login that serves changes the end of a session: %s', async (text) => {
  const place = await fixture.grantedPlace()
  await using its = await testRecorder()
  const process = await fixture.serve()
  const { session } = await sealed(its, process, place)
  const before = await process.access.session(place.tenant, session)
  await expect(asApp(place.tenant, text, session)).rejects.toMatchObject({ code: 'VT022' })
  expect(await process.access.session(place.tenant, session)).toEqual(before)
})

test.each(['recording_sought = true', 'recording = false', "reason = 'x'", 'bytes = 1'])(
  'attack: no login that serves writes a part of an end on a live session: %s',
  async (text) => {
    const { tenant, demo } = await fixture.grantedPlace()
    const session = await open((await fixture.serve()).access, demo, 'web1')
    await expect(asApp(tenant, text, session)).rejects.toMatchObject({ code: 'VT022' })
  },
)

test.each([
  ['seeks it', `recording_sought = true, ${digestless}`],
  ['opens its session again', `ended_at = null, reason = null, ${digestless}`],
])('attack: no recovery changes a sealed recording when a row %s', async (_, text) => {
  const place = await fixture.grantedPlace()
  const { tenant } = place
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve('sealed-node'), await fixture.serve('sealed-node')]
  const { session, path, digest } = await sealed(its, lost, place, { node: 'sealed-node' })
  const bytes = await readFile(path)
  await database.pastTriggers(`update session set ${text} where id = $1`, [session])
  await lost.lease.release()
  const outcomes: string[] = []
  const mend = async (unended: Unended) => {
    const recovered = await its.recorder.recover(unended)
    outcomes.push(recovered.outcome)
    return recovered
  }
  await recovers(next, mend, async () => {
    expect(outcomes).toEqual(['sealed'])
    await ended(next.access, tenant, session)()
  })
  expect(await readFile(path)).toEqual(bytes)
  expect(await digestsOf(place, session)).toEqual([`sha256:${digest.sha256}`])
})

test('attack: a row that says that a live session ended hides neither its end nor its recording', async () => {
  const place = await fixture.grantedPlace()
  const { tenant, demo } = place
  await using its = await testRecorder()
  const node = 'seeking-node'
  const [process, other] = [await fixture.serve(node), await fixture.serve(node)]
  // The control, which comes after the attacked one in each look.
  const control = await open(process.access, demo, 'web1', { node })
  const gone = await its.begin({ tenant, session: control })
  await gone.output('was on another disk')
  await process.access.interruptSessions([{ tenant, session: control }], noRecording)
  const attacked = await witnessed(its, process, place, { node })
  await asApp(tenant, 'ended_at = now(), recording_sought = true', attacked.session)
  const bytes = await readFile(attacked.path)
  for (const each of [process, other]) {
    await recovers(each, record(its), async () => {
      expect(await each.access.session(tenant, control)).toMatchObject({ recording: true })
    })
  }
  expect(await readFile(attacked.path)).toEqual(bytes)
  const digest = await attacked.recording.end()
  const outcome = { tenant, bytes: 10, reason: 'exit', exitStatus: 3, recording: digest }
  // Also when it is written twice.
  for (let i = 0; i < 2; i++) await process.access.endSession(attacked.session, outcome)
  const end = (await place.events()).filter(
    ({ type, public: facts }) => type === 'session.end' && facts.session === attacked.session,
  )
  expect(end).toMatchObject([{ public: { ended: 'exit', exitStatus: '3', bytes: '10' } }])
  expect(await digestsOf(place, attacked.session)).toEqual([`sha256:${digest.sha256}`])
  const kept = await process.access.recordingWitness(tenant, attacked.session)
  expect(end[0]?.public.recordingChain).toBe(`sha256:${kept?.chain}`)
  expect(await process.access.session(tenant, attacked.session)).toMatchObject({
    recordingSha256: digest.sha256,
  })
})

test('attack: a digest that a login appends does not keep the end of a dead process’s session off the log', async () => {
  const place = await fixture.grantedPlace()
  const { tenant, demo } = place
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve('dead-node'), await fixture.serve('dead-node')]
  const session = await open(lost.access, demo, 'web1', { node: 'dead-node' })
  const recording = await its.begin({ tenant, session })
  await recording.output('what a login hides')
  const recordingDigest = `sha256:${'cd'.repeat(32)}`
  await database.app.write(tenant, (tx) =>
    appendEvent(tx, { type: 'recording.recovered', public: { session, recordingDigest } }),
  )
  await lost.lease.release()
  await recovers(next, record(its), ended(next.access, tenant, session))
  expect((await place.events()).at(-1)).toMatchObject({
    type: 'session.end',
    public: { session, ended: 'interrupted' },
  })
})

test('attack: a dead process’s sessions end, also when a row says that they have', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const session = await open(lost.access, demo, 'web1')
  const asSystem = (text: string) =>
    database.app.system((tx) =>
      tx.run(`update node_instance set ${text} where id = $1`, [lost.lease.instance]),
    )
  const settle = () =>
    expect(asSystem('settled_at = now()')).rejects.toMatchObject({ code: 'VT022' })
  await settle()
  await loseLease(lost)
  await asSystem("ended_at = now() - interval '1 day', ended = 'released'")
  await settle()
  // A row from before the database refused this.
  await database.pastTriggers(
    "update node_instance set settled_at = now(), ended_at = now() - interval '1 hour' where id = $1",
    [lost.lease.instance],
  )
  expect(await overdue()).toContain(lost.lease.node)
  await recovers(next, noRecording, ended(next.access, tenant, session))
  expect((await next.access.session(tenant, session))?.reason).toBe('interrupted')
})

/** As `doctor` names them. */
const overdue = async () =>
  (await database.app.system((tx) => listOverdueInstances(tx, 60_000))).map(({ node }) => node)

test('attack: a session ends whose process has no row any more', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const session = await open(lost.access, demo, 'web1')
  await database.pastTriggers('delete from node_instance where id = $1', [lost.lease.instance])
  expect(await overdue()).toContain('unknown')
  await recovers(next, noRecording, ended(next.access, tenant, session))
  expect((await next.access.session(tenant, session))?.reason).toBe('interrupted')
  expect(await overdue()).not.toContain('unknown')
})

test('attack: no login makes a session of no process', async () => {
  const { tenant } = await fixture.grantedPlace()
  const lost = await fixture.serve()
  await lost.lease.release()
  const make = (instance: string) =>
    database.app.write(tenant, async (tx) => {
      await tx.one("select set_config('app.instance', $1, true)", [instance])
      await tx.run(`insert into session (id, user_id, user_name, key_fingerprint, target_id,
          target_name, login, kind, source, client_ident, node, recording)
        values (gen_random_uuid(), gen_random_uuid(), 'demo', '', gen_random_uuid(), 'web1', 'root',
          'shell', '', '', 'n', false)`)
    })
  for (const instance of ['', newInstanceId(), lost.lease.instance]) {
    await expect(make(instance)).rejects.toMatchObject({ code: 'ERR_NODE_LEASE_LOST' })
  }
  await make((await fixture.serve()).lease.instance)
})

/** More than a recovery reads where it may take no time. */
const long = (path: string) => writeFile(path, '[0,"o",""]\n'.repeat(30_000), { flag: 'a' })

/** The recorder's, which has no time for some recordings before their ends, and later waits for them. */
function slowly(its: TestRecorder, slow: readonly SessionId[]) {
  const free = Promise.withResolvers<void>()
  const mend = async (unended: Unended) => {
    if (!slow.includes(unended.session)) return its.recorder.recover(unended)
    if (unended.withinMs !== undefined) return its.recorder.recover({ ...unended, withinMs: -1 })
    await free.promise
    return its.recorder.recover(unended)
  }
  return { mend, free: () => free.resolve() }
}

const factsOf = async (
  place: Awaited<ReturnType<typeof fixture.grantedPlace>>,
  session: SessionId,
) =>
  (await place.events()).flatMap(({ type, public: facts }) =>
    facts.session === session && /end$|recovered|lost/.test(type) ? [[type, facts] as const] : [],
  )

test('attack: no end waits for the long recordings of others, or for its own', async () => {
  const place = await fixture.grantedPlace()
  const { tenant } = place
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const bloated = [await witnessed(its, lost, place), await witnessed(its, lost, place)]
  const honest = await witnessed(its, lost, place)
  for (const { path } of bloated) await long(path)
  await lost.access.close()
  await loseLease(lost)
  const slow = bloated.map(({ session }) => session)
  const { mend, free } = slowly(its, slow)
  await recovers(next, mend, async () => {
    for (const session of [...slow, honest.session]) await ended(next.access, tenant, session)()
    expect(await next.access.session(tenant, honest.session)).toMatchObject({
      recordingIntact: true,
    })
  })
  for (const session of slow) {
    const facts = await factsOf(place, session)
    expect(facts).toMatchObject([['session.end', { ended: 'interrupted' }]])
    // Nobody knows it yet.
    expect(facts[0]?.[1]).not.toHaveProperty('recording')
  }
  free()
  await vi.waitFor(async () => {
    for (const session of slow) {
      expect(await next.access.session(tenant, session)).toMatchObject({ recordingIntact: true })
      const kept = await next.access.recordingWitness(tenant, session)
      expect(await factsOf(place, session)).toMatchObject([
        ['session.end', {}],
        ['recording.recovered', { tampered: false, recordingChain: `sha256:${kept?.chain}` }],
      ])
    }
  }, 30_000)
})

test('attack: no end waits for a disk that hangs, and its tenant’s ends wait once', async () => {
  const place = await fixture.grantedPlace()
  const { tenant, demo } = place
  const process = await fixture.serve()
  const sessions: SessionId[] = []
  for (let i = 0; i < 4; i++) sessions.push(await open(process.access, demo, 'web1'))
  const asked: SessionId[] = []
  const mend = (unended: Unended) => {
    if (unended.withinMs !== undefined) asked.push(unended.session)
    return new Promise<never>(() => {})
  }
  await process.access.interruptSessions(
    sessions.map((session) => ({ tenant, session })),
    mend,
  )
  for (const session of sessions) await ended(process.access, tenant, session)()
  expect(asked).toEqual(sessions.slice(0, 1))
})

test('a process that dies between an end and its recording leaves the recording to the next', async () => {
  const place = await fixture.grantedPlace()
  const { tenant, demo } = place
  await using its = await testRecorder()
  const node = 'dies-twice'
  const [lost, second, third] = [
    await fixture.serve(node),
    await fixture.serve(node),
    await fixture.serve(node),
  ]
  const { session, path } = await witnessed(its, lost, place, { node })
  await long(path)
  await lost.access.close()
  await loseLease(lost)
  await recovers(second, slowly(its, [session]).mend, ended(second.access, tenant, session))
  // The third has looked at its start, when the second still had its lease.
  const other = await fixture.serve()
  const control = await open(other.access, demo, 'web1')
  await loseLease(other)
  await recovers(third, record(its), ended(third.access, tenant, control))
  expect(await third.access.session(tenant, session)).toMatchObject({ recordingSha256: null })
  await loseLease(second)
  await recovers(third, record(its), async () => {
    expect(await third.access.session(tenant, session)).toMatchObject({ recordingIntact: true })
  })
  expect((await factsOf(place, session)).map(([type]) => type)).toEqual([
    'session.end',
    'recording.recovered',
  ])
})

test.each([
  ['missing', { outcome: 'missing' }, { recording: false }],
  ['too-slow', { outcome: 'given-up', why: 'too-slow', bytes: 5 }, { recording: true }],
] as const)('tells after an end that its recording is lost, once: %s', async (why, later, row) => {
  const place = await fixture.grantedPlace()
  const { tenant } = place
  await using its = await testRecorder()
  const node = `node-of-${why}`
  const [process, next] = [await fixture.serve(node), await fixture.serve(node)]
  const sessions: SessionId[] = []
  for (let i = 0; i < 2; i++)
    sessions.push((await witnessed(its, process, place, { node })).session)
  const told = async () => {
    for (const session of sessions)
      expect(await factsOf(place, session)).toMatchObject([
        ['session.end', {}],
        ['recording.lost', { why }],
      ])
  }
  await process.access.interruptSessions(
    sessions.map((session) => ({ tenant, session })),
    async ({ withinMs }) => (withinMs === undefined ? later : { outcome: 'unfinished' }),
  )
  await vi.waitFor(told, 30_000)
  for (const session of sessions)
    expect(await process.access.session(tenant, session)).toMatchObject(row)
  // The next process seeks what is missing, one after the other.
  await process.lease.release()
  const sought: SessionId[] = []
  const seek = async ({ session }: Unended) => {
    sought.push(session)
    return later
  }
  await recovers(next, seek, async () => {
    expect(sought.toSorted()).toEqual(why === 'missing' ? sessions.toSorted() : [])
  })
  await told()
})

test('attack: a row that says that a session ended hides no recording that is read late', async () => {
  const place = await fixture.grantedPlace()
  const { tenant } = place
  await using its = await testRecorder()
  const process = await fixture.serve()
  const texts = ['ended_at = now()', 'ended_at = now(), recording_sought = true']
  for (const text of texts) {
    const { session, path } = await witnessed(its, process, place)
    await long(path)
    await asApp(tenant, text, session)
    const { mend, free } = slowly(its, [session])
    free()
    await process.access.interruptSessions([{ tenant, session }], mend)
    await vi.waitFor(async () => {
      expect((await factsOf(place, session)).map(([type]) => type)).toEqual([
        'session.end',
        'recording.recovered',
      ])
    }, 30_000)
  }
})

test('attack: a row that opens a session again ends it no second time, however long its recording is', async () => {
  const place = await fixture.grantedPlace()
  const { tenant } = place
  await using its = await testRecorder()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const { session, path } = await sealed(its, lost, place)
  const before = await factsOf(place, session)
  await long(path)
  const text = `ended_at = null, reason = null, ${digestless}`
  await database.pastTriggers(`update session set ${text} where id = $1`, [session])
  await lost.lease.release()
  const { mend, free } = slowly(its, [session])
  free()
  await recovers(next, mend, ended(next.access, tenant, session))
  expect(await factsOf(place, session)).toEqual(before)
})

test('attack: rows of processes that never were keep no dead process’s session open', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const [lost, next] = [await fixture.serve(), await fixture.serve()]
  const session = await open(lost.access, demo, 'web1')
  const ghosts = (many: number) => `insert into node_instance (id, node, lease_ms, lease_until)
    select gen_random_uuid(), 'ghost', 1000, now() - interval '1 day' from generate_series(1, ${many})`
  onTestFinished(() => database.pastTriggers("delete from node_instance where node = 'ghost'"))
  await database.app.system((tx) => tx.run(ghosts(1500)))
  // Some have ended before, and others still wait for their end.
  const end = () => database.app.system((tx) => endExpiredInstances(tx, next.lease.instance))
  await end()
  await end()
  await database.app.system((tx) => tx.run(ghosts(400)))
  await loseLease(lost)
  await recovers(next, noRecording, ended(next.access, tenant, session))
  expect((await next.access.session(tenant, session))?.reason).toBe('interrupted')
})
