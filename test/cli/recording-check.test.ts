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
import { afterAll, expect, test } from 'vitest'
import { appendEvent } from '../../src/audit/index.ts'
import type { CliProduct } from '../../src/cli/deps.ts'
import { verifyRecording } from '../../src/cli/recording-check.ts'
import { openProduct } from '../../src/product.ts'
import type { SessionId } from '../../src/recorder/index.ts'
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
  { log: silent, metrics: new Registry(), egress: undefined },
)
afterAll(async () => {
  await opened.close()
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

const problemOf = async (subject: SessionId | string) =>
  (await verifyRecording(product, subject)).problem

test('finds a recording intact, by its session and as a file', async () => {
  const one = await recorded()
  const digest = await end(one)
  for (const subject of [one.session, one.path]) {
    expect(await verifyRecording(product, subject)).toMatchObject({
      sha256: digest.sha256,
      problem: undefined,
      event: { session: one.session, recordingChain: expect.stringMatching(/^[0-9a-f]{64}$/) },
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
  expect(await verifyRecording(product, signed.session)).toMatchObject({
    event: { isSigned: false },
  })
  await opened.audit.checkpoint(signed.tenant)
  expect(await verifyRecording(product, signed.session)).toMatchObject({
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
  expect(await verifyRecording(product, one.session)).toMatchObject({
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
  expect(await verifyRecording(product, one.session)).toMatchObject({
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
  const found = await verifyRecording(product, one.session)
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
