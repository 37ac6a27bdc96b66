import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, expect, test, vi } from 'vitest'
import { type AuditEvent, appendEvent, LogInconsistent } from '../../src/audit/index.ts'
import type { CliProduct } from '../../src/cli/deps.ts'
import { verifyRecording } from '../../src/cli/recording-check.ts'
import { readRecordings } from '../../src/cli/recording-event.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import { openProduct } from '../../src/product.ts'
import { RecordingWitness, type SessionId } from '../../src/recorder/index.ts'
import { createKekFile } from '../../src/vault/index.ts'
import { actor, newTarget, open } from '../access/access-fixture.ts'
import { makeKey } from '../auth/auth-fixture.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

const database = await openTestDatabase()
const directory = mkdtempSync(join(tmpdir(), 'vaultterm-verify-'))
await createKekFile(join(directory, 'kek'))
const recordings = join(directory, 'recordings')
const opened = await openProduct(
  {
    database: database.urls,
    redisUrl: undefined,
    kek: `file:${join(directory, 'kek')}`,
    recordings: `dir:${recordings}`,
  },
  {
    log: silent,
    metrics: new Registry(),
    egress: undefined,
    // Sessions belong to a process that serves.
    serve: { node: 'n1', leaseMs: 600_000 },
  },
)
afterAll(async () => {
  // It says which events the tests took from their logs.
  await opened.close().catch((err: unknown) => {
    if (!(err instanceof LogInconsistent)) throw err
  })
  rmSync(directory, { recursive: true })
})
const product: CliProduct = {
  ...opened,
  run: { portal: '', admin: '', publicUrl: '', live: true },
}

/** A session that was recorded and has ended, and its file; edit() changes the file while it grows. */
async function recorded({ edit = (_path: string) => {} } = {}) {
  const { access, auth, tenants, recorder } = opened
  const slug = `t${crypto.randomUUID().slice(0, 8)}`
  const { id: tenant } = await tenants.create({ slug, name: slug }, actor)
  const key = makeKey()
  const user = await auth.addUser(tenant, { name: 'demo', role: 'member' }, actor)
  const { fingerprint } = await auth.addKey(tenant, 'demo', key.line, {}, actor)
  await access.addTarget(tenant, newTarget('web1'), actor)
  await access.addGrant(tenant, { user: 'demo', target: 'web1' }, actor)
  const identity = {
    tenant,
    tenantSlug: slug,
    user: { id: user.id, name: 'demo', role: 'member' },
    keyFingerprint: fingerprint,
  } as const
  const session = await open(access, identity, 'web1')
  const told = Promise.withResolvers<void>()
  const recording = await recorder.start({
    tenant,
    session,
    kind: 'terminal',
    cols: 80,
    rows: 24,
    onFailure: told.reject,
    onDurable(point) {
      access.witnessRecording(session, point)
      told.resolve()
    },
  })
  await new Promise<void>((written) => recording.output(Buffer.from('rm -rf /\r\n'), written))
  await told.promise
  const path = join(recordings, tenant, `${session}.cast`)
  edit(path)
  return { tenant, session, path, recording }
}

async function end({ tenant, session, recording }: Awaited<ReturnType<typeof recorded>>) {
  const digest = await recording.end()
  await opened.access.endSession(session, { tenant, bytes: 1, reason: 'ended', recording: digest })
  return digest
}

async function verifyOne(subject: SessionId | string) {
  const { sha256, matches } = await verifyRecording(product, subject)
  expect(matches).toHaveLength(1)
  return { sha256, ...matches[0] }
}
const problemOf = async (subject: SessionId | string) => (await verifyOne(subject)).problem

test('finds a recording intact, by its session and as a file', async () => {
  const one = await recorded()
  const digest = await end(one)
  for (const subject of [one.session, one.path]) {
    expect(await verifyOne(subject)).toMatchObject({
      sha256: digest.sha256,
      problem: undefined,
      session: one.session,
      event: { recordingChain: expect.stringMatching(/^[0-9a-f]{64}$/) },
    })
  }
})

test('attack: finds that a worker forged a recording, and gave the digest of the forgery', async () => {
  const one = await recorded()
  const forged = readFileSync(one.path, 'utf8').replace('rm -rf /', 'ls -la /')
  await one.recording.end()
  writeFileSync(one.path, forged)
  const sha256 = execFileSync('sha256sum', [one.path], { encoding: 'utf8' }).slice(0, 64)
  const longer = { bytes: forged.length, sha256, events: 1, durationMs: 1, complete: true }
  const { tenant, session } = one
  await opened.access.endSession(session, {
    tenant,
    bytes: 1,
    reason: 'ended',
    recording: { ...longer, empty: false },
  })
  for (const subject of [session, one.path]) {
    expect(await problemOf(subject)).toContain('was changed while it was recorded')
  }
})

test.each([
  ['is a forward', "update session set kind = 'forward' where id = $1"],
  ['is live', 'update session set ended_at = null where id = $1'],
])(
  'attack: a row that says that a recorded session %s hides no recording',
  async (said, statement) => {
    const one = await recorded()
    await end(one)
    await database.pastTriggers(statement, [one.session])
    expect(await problemOf(one.session)).toContain(`says that it ${said}, but the log has`)
  },
)

test('attack: finds it also where the forgery goes on', async () => {
  const one = await recorded()
  await one.recording.end()
  const forged = readFileSync(one.path, 'utf8').replace('rm -rf /', 'ls -la /')
  const longer = `${forged}[0.1,"o","more"]\n`
  writeFileSync(one.path, longer)
  const sha256 = execFileSync('sha256sum', [one.path], { encoding: 'utf8' }).slice(0, 64)
  const { tenant, session } = one
  const digest = { bytes: longer.length, sha256, events: 2, durationMs: 1, complete: true }
  await opened.access.endSession(session, {
    tenant,
    bytes: 1,
    reason: 'ended',
    recording: { ...digest, empty: false },
  })
  expect(await problemOf(session)).toContain('was changed while it was recorded')
})

test('attack: finds that what was witnessed was changed in the database', async () => {
  const one = await recorded()
  await end(one)
  await database.superuser(
    "update recording_witness set chain = sha256('x') where session_id = $1",
    [one.session],
  )
  expect(await problemOf(one.session)).toContain('the witness of the recording')
})

/** A superuser and somebody who writes the file: the event on the log is made to agree with a forgery. */
async function forgeEvent({ session, path }: Awaited<ReturnType<typeof recorded>>): Promise<void> {
  writeFileSync(path, readFileSync(path, 'utf8').replace('rm -rf /', 'ls -la /'))
  const sha256 = execFileSync('sha256sum', [path], { encoding: 'utf8' }).slice(0, 64)
  await database.superuser(`set session_replication_role = replica;
    update audit_leaf set leaf = convert_to(regexp_replace(regexp_replace(convert_from(leaf, 'UTF8'),
      '"recordingChain":"[^"]*",', ''), '"recordingDigest":"[^"]*"',
      '"recordingDigest":"sha256:${sha256}"'), 'UTF8')
    where convert_from(leaf, 'UTF8') like '%"session":"${session}"%"session.end"%';
    update audit_leaf set leaf_hash = sha256('\\x00'::bytea || leaf);
    set session_replication_role = origin`)
}

/** The log is not the one that was signed, or its head is not that of its leaves. */
const inconsistent = /are not those that were signed|is not that of its leaves/

test('attack: finds a second digest that the application’s login put on the log, before the true one or after', async () => {
  const [early, late] = [await recorded(), await recorded()]
  const forge = async ({ tenant, session, path }: typeof early) => {
    const forged = readFileSync(path, 'utf8').replace('rm -rf /', 'ls -la /')
    const recordingDigest = `sha256:${createHash('sha256').update(forged).digest('hex')}`
    const event = {
      type: 'session.end',
      public: { session, recordingDigest, recordingBytes: String(forged.length) },
    } as const
    await opened.database.write(tenant, (tx) => appendEvent(tx, event))
    return () => writeFileSync(path, forged)
  }
  const replaceEarly = await forge(early)
  for (const one of [early, late]) await end(one)
  const replaceLate = await forge(late)
  for (const { tenant } of [early, late]) await opened.audit.checkpoint(tenant)
  for (const replace of [replaceEarly, replaceLate]) replace()
  for (const { session, path } of [early, late])
    for (const subject of [session, path])
      expect(await problemOf(subject), subject).toContain('two digests')
})

test('attack: finds that the event on the log was forged with the recording, before it was signed and after', async () => {
  const [unsigned, signed] = [await recorded(), await recorded()]
  for (const one of [unsigned, signed]) await end(one)
  expect(await verifyOne(signed.session)).toMatchObject({
    event: { isSigned: false },
  })
  await opened.audit.checkpoint(signed.tenant)
  expect(await verifyOne(signed.session)).toMatchObject({
    problem: undefined,
    event: { isSigned: true },
  })
  for (const one of [unsigned, signed]) {
    await forgeEvent(one)
    for (const subject of [one.session, one.path])
      expect(await problemOf(subject)).toMatch(inconsistent)
  }
})

test('attack: finds it also where the checkpoints are gone, by the head that this node remembers', async () => {
  const one = await recorded()
  await end(one)
  await opened.audit.checkpoint(one.tenant)
  await database.superuser(
    `set session_replication_role = replica;
     delete from audit_checkpoint where tenant_id = '${one.tenant}';
     set session_replication_role = origin`,
  )
  expect(await verifyOne(one.session)).toMatchObject({
    problem: undefined,
    event: { isSigned: true },
  })
  await forgeEvent(one)
  expect(await problemOf(one.session)).toMatch(inconsistent)
})

test('attack: a checkpoint that somebody forged keeps no recording from being found intact', async () => {
  const one = await recorded()
  await opened.audit.checkpoint(one.tenant)
  await end(one)
  await opened.audit.checkpoint(one.tenant)
  await database.superuser(
    `set session_replication_role = replica;
     update audit_checkpoint set note = 'x' where tenant_id = '${one.tenant}';
     set session_replication_role = origin`,
  )
  expect(await verifyOne(one.session)).toMatchObject({
    problem: undefined,
    event: { isSigned: true },
  })
})

test('attack: finds a changed byte, and a changed length without reading', async () => {
  const one = await recorded()
  await end(one)
  const whole = readFileSync(one.path)
  writeFileSync(one.path, whole.toString().replace('rm', 'ls'))
  expect(await problemOf(one.session)).toContain('does not match the log')
  truncateSync(one.path, 400e9)
  const found = await verifyOne(one.session)
  expect(found).toMatchObject({ sha256: undefined, problem: expect.stringContaining('as long') })
})

test.each<[string, (path: string) => void]>([
  ['a FIFO', (path) => execFileSync('mkfifo', [path])],
  ['a directory', (path) => execFileSync('mkdir', [path])],
  ['a link', (path) => symlinkSync('/etc/hostname', path)],
])('attack: %s in the place of a recording is told, and nobody waits for it', async (_, put) => {
  const one = await recorded()
  await end(one)
  rmSync(one.path)
  put(one.path)
  expect(await problemOf(one.session)).toContain('not a regular file')
  await expect(opened.recorder.open(one.tenant, one.session, 1)).rejects.toMatchObject({
    code: 'ERR_RECORDING_UNUSABLE',
  })
})

test.each<[string, (path: string) => void]>([
  ['a FIFO', (path) => execFileSync('mkfifo', [path])],
  ['a directory', (path) => execFileSync('mkdir', [path])],
  ['a link to a device', (path) => symlinkSync('/dev/zero', path)],
])('%s as a file is refused', async (_, put) => {
  const path = join(directory, `file-${crypto.randomUUID()}`)
  put(path)
  await expect(verifyRecording(product, path)).rejects.toMatchObject({
    code: 'ERR_FILE',
  })
})

/** The witness and the digest that a forgery would have had: one point, its whole length. */
function forgeryOf({ path }: { readonly path: string }, more = '') {
  const bytes = Buffer.from(readFileSync(path, 'utf8').replace('rm -rf /', 'ls -la /') + more)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const witness = new RecordingWitness()
  witness.add({ bytes: bytes.length, sha256 })
  const { kept } = witness
  if (kept === undefined) throw new Error('nothing was witnessed')
  return { bytes, sha256, kept }
}

type Forgery = ReturnType<typeof forgeryOf>

/** Whoever has the application's login: an event, and rows that agree with it. */
async function plantEnd(
  tenant: TenantId,
  session: SessionId,
  { bytes, sha256, kept }: Forgery,
): Promise<void> {
  const event = {
    type: 'session.end',
    public: {
      session,
      recordingDigest: `sha256:${sha256}`,
      recordingBytes: String(bytes.length),
      recordingChain: `sha256:${kept.chain}`,
    },
  } as const
  await opened.database.write(tenant, (tx) => appendEvent(tx, event))
}

async function plantRows(session: SessionId, { kept }: Forgery): Promise<void> {
  await database.superuser(
    'update recording_witness set offsets = $2, chain = $3, bytes = $4 where session_id = $1',
    [session, kept.offsets, Buffer.from(kept.chain, 'hex'), kept.bytes],
  )
  await database.pastTriggers('update session set recording_intact = true where id = $1', [session])
}

test('attack: finds a second chain that the application’s login put on the log for the same digest', async () => {
  const one = await recorded()
  const { tenant, session, path } = one
  await one.recording.end()
  const forgery = forgeryOf(one)
  writeFileSync(path, forgery.bytes)
  await plantEnd(tenant, session, forgery)
  const recording = { bytes: forgery.bytes.length, sha256: forgery.sha256, events: 1 }
  await opened.access.endSession(session, {
    tenant,
    bytes: 1,
    reason: 'ended',
    recording: { ...recording, durationMs: 1, complete: true, empty: false },
  })
  await plantRows(session, forgery)
  await opened.audit.checkpoint(tenant)
  for (const subject of [session, path])
    expect(await problemOf(subject)).toContain('has two chains')
})

const interruption = '[0,"m","recording interrupted: the bastion stopped"]\n'

test('attack: believes no chain beside a recovery that found the recording changed', async () => {
  const one = await recorded()
  const { tenant, session, path } = one
  await one.recording.end()
  const forgery = forgeryOf(one, interruption)
  writeFileSync(path, forgery.bytes)
  await plantEnd(tenant, session, forgery)
  await opened.access.interruptSessions([{ tenant, session }], (unended) =>
    opened.recorder.recover(unended),
  )
  await plantRows(session, forgery)
  for (const subject of [session, path])
    expect(await problemOf(subject)).toContain('has two chains')
})

test('attack: any event that says that a recording was changed counts, and one that says that it was lost', async () => {
  for (const [event, said] of [
    [{ type: 'recording.recovered', facts: { tampered: true } }, 'was changed while'],
    [{ type: 'recording.lost', facts: { why: 'too-large' } }, 'not recovered (too-large)'],
  ] as const) {
    const one = await recorded()
    const { session, tenant } = one
    await end(one)
    const { type, facts } = event
    const lies = { type, public: { session, ...facts } } as AuditEvent
    await opened.database.write(tenant, (tx) => appendEvent(tx, lies))
    for (const subject of [session, one.path]) expect(await problemOf(subject)).toContain(said)
  }
})

test('finds an interrupted recording intact, though only its recovery tells the chain', async () => {
  const one = await recorded()
  const { tenant, session, path } = one
  await opened.access.interruptSessions([{ tenant, session }], (unended) =>
    opened.recorder.recover(unended),
  )
  for (const subject of [session, path])
    expect(await verifyOne(subject)).toMatchObject({
      problem: undefined,
      event: { recordingChain: expect.stringMatching(/^[0-9a-f]{64}$/) },
    })
})

/** An end that waits for no recording, which is read when `free` is called; edit() comes before that. */
async function endsFirst({ tenant, session, path }: Awaited<ReturnType<typeof recorded>>) {
  const free = Promise.withResolvers<void>()
  await opened.access.interruptSessions([{ tenant, session }], async (unended) => {
    if (unended.withinMs !== undefined) return { outcome: 'unfinished' }
    await free.promise
    return opened.recorder.recover(unended)
  })
  return async (edit = (_path: string) => {}) => {
    edit(path)
    free.resolve()
    await vi.waitFor(async () => {
      const [log] = await readRecordings(product, { tenant, slug: '' }, [session])
      expect(log?.event ?? log?.lost).toBeDefined()
    }, 30_000)
  }
}

test('finds an interrupted recording intact whose session ended before it was read', async () => {
  const one = await recorded()
  const read = await endsFirst(one)
  expect(await problemOf(one.session)).toContain('the log has no digest')
  await read()
  for (const subject of [one.session, one.path])
    expect(await verifyOne(subject)).toMatchObject({
      problem: undefined,
      event: { recordingChain: expect.stringMatching(/^[0-9a-f]{64}$/) },
    })
})

test.each<[string, (path: string) => void, string]>([
  [
    'is changed',
    (path) => writeFileSync(path, readFileSync(path, 'utf8').replace('rm -rf /', 'ls -la /')),
    'was changed while it was recorded',
  ],
  ['is taken away', (path) => rmSync(path), 'not recovered (missing)'],
])(
  'attack: finds that a recording %s between the end of its session and its repair',
  async (_, edit, said) => {
    const one = await recorded()
    const read = await endsFirst(one)
    await read(edit)
    const { matches } = await verifyRecording(product, one.session).catch(() => ({ matches: [] }))
    const [log] = await readRecordings(product, { tenant: one.tenant, slug: '' }, [one.session])
    expect(matches[0]?.problem ?? log?.problem).toContain(said)
  },
)

test('attack: another tenant vouches for no recording, and one that lies hides no honest one', async () => {
  const one = await recorded()
  await end(one)
  const other = await database.createTenant('aaa')
  const forgery = forgeryOf(one)
  const file = join(directory, 'forged.cast')
  writeFileSync(file, forgery.bytes)
  await plantEnd(other, one.session, forgery)
  expect(await problemOf(file)).toContain(`has no session ${one.session}`)
  // The honest file: both logs are reported.
  const honest = readFileSync(one.path)
  const sha256 = createHash('sha256').update(honest).digest('hex')
  await plantEnd(other, one.session, { ...forgery, bytes: honest, sha256 })
  const { matches } = await verifyRecording(product, one.path)
  expect(matches.toSorted((a, b) => a.tenant.localeCompare(b.tenant))).toMatchObject([
    { tenant: 'aaa', problem: expect.stringContaining('two digests') },
    { session: one.session, problem: undefined },
  ])
})

test('attack: a session that its tenant’s log never started is believed by no row', async () => {
  const one = await recorded()
  await end(one)
  const { tenant } = await recorded()
  await plantEnd(tenant, one.session, { ...forgeryOf(one) })
  const { bytes } = forgeryOf(one)
  const file = join(directory, 'moved.cast')
  writeFileSync(file, bytes)
  await database.superuser(
    `set session_replication_role = replica;
     update session set tenant_id = '${tenant}', user_id = (select id from app_user where tenant_id = '${tenant}' limit 1) where id = '${one.session}';
     set session_replication_role = origin`,
  )
  expect(await problemOf(file)).toContain('has no start on its log')
})

test('attack: a leaf that nobody can read hides no answer, and is told as a fault of the log', async () => {
  const [one, other] = [await recorded(), await recorded()]
  for (const each of [one, other]) {
    await end(each)
    await opened.audit.append(each.tenant, {
      type: 'recording.lost',
      public: { session: each.session, why: 'missing' },
    })
  }
  writeFileSync(other.path, forgeryOf(other).bytes)
  // As the door of an older version took it: the trees agree with it.
  await database.superuser(`set session_replication_role = replica;
    update audit_leaf set leaf = convert_to(regexp_replace(convert_from(leaf, 'UTF8'),
      '"ts":"....', '"ts":"10000'), 'UTF8')
    where tenant_id in ('${one.tenant}', '${other.tenant}')
      and convert_from(leaf, 'UTF8') like '%"typ":"recording.lost"%';
    update audit_leaf set leaf_hash = sha256('\\x00'::bytea || leaf);
    set session_replication_role = origin`)
  for (const { tenant } of [one, other])
    await database.superuser(
      `select set_config('app.tenant_id', '${tenant}', false); select from audit_mend()`,
    )
  const fault = /leaf \d+ names the session and is none of this log: run `vaultterm audit verify/
  expect(await problemOf(one.session)).toMatch(/matches the log; but /)
  expect(await problemOf(other.session)).toMatch(/does not match the log: it was changed; but /)
  for (const { session } of [one, other]) expect(await problemOf(session)).toMatch(fault)
})
