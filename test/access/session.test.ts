import { expect, test, vi } from 'vitest'
import { appendEvent } from '../../src/audit/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { actor, allowed, newKey, open, openAccessFixture, shell, start } from './access-fixture.ts'

const fixture = await openAccessFixture()
const { access, auth, database } = fixture

const digest = {
  bytes: 1234,
  sha256: 'ab'.repeat(32),
  events: 7,
  complete: true,
  durationMs: 10,
  empty: false,
}

const typesOf = (events: readonly { readonly type: string }[]) => events.map(({ type }) => type)

test('a rush of one user is bounded, and sessions that have started are not of it', async () => {
  const { demo } = await fixture.grantedPlace()
  const authorize = async () => allowed(await access.authorize(demo, shell))
  const [first] = await Promise.all(Array.from({ length: 50 }, authorize))
  for (let made = 50; made < 1000; made += 50) {
    await Promise.all(Array.from({ length: 50 }, authorize))
  }
  await expect(authorize()).rejects.toMatchObject({ code: 'ERR_ACCESS_BUSY' })
  if (first === undefined) throw new Error('nothing was authorized')
  await access.startSession(first, start)
  await authorize()
  await expect(authorize()).rejects.toMatchObject({ code: 'ERR_ACCESS_BUSY' })
})

test('says how a session came, in its row, in both lists and on the log', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const direct = await open(access, demo, 'web1')
  const jumped = await open(access, demo, 'web1', { via: 'jump' })
  const expected = [
    [jumped, 'jump'],
    [direct, 'direct'],
  ]
  const viaOf = (list: readonly { readonly id: SessionId; readonly via: string }[]) =>
    list.map(({ id, via }) => [id, via])
  expect(viaOf(await access.sessions(tenant))).toEqual(expected)
  expect(viaOf(await access.sessionsFor({ ...demo, session: 'web' }))).toEqual(expected)
  const starts = (await events()).filter(({ type }) => type === 'session.start')
  const logged = new Map(starts.map(({ public: at }) => [at.session, at.via]))
  expect(expected.map(([id = '']) => logged.get(id))).toEqual(['jump', 'direct'])
  await expect(
    database.app.write(tenant, (tx) => tx.run("update session set via = 'direct'")),
  ).rejects.toThrow(/permission denied/)
})

test('puts a session on record from its start to its end', async () => {
  const { tenant, slug, demo, events } = await fixture.grantedPlace()
  const authorization = allowed(await access.authorize(demo, { kind: 'exec' }))
  const facts = { ...start, kind: 'exec' as const, command: Buffer.from([0x6c, 0x73, 0xff]) }
  const { session } = await access.startSession(authorization, facts)
  expect(await access.session(tenant, session)).toMatchObject({
    tenant: slug,
    user: 'demo',
    target: 'web1',
    login: 'root',
    kind: 'exec',
    command: 'ls\ufffd',
    live: true,
    endedAt: null,
    recording: true,
  })
  // Not at once: what is over in a moment is never shown.
  expect(await fixture.live(tenant)).toEqual([])
  await expect
    .poll(() => fixture.live(tenant))
    .toMatchObject([{ session, user: 'demo', target: 'web1' }])
  await access.leaseKey(authorization, session)
  expect(fixture.leases.at(-1)).toMatchObject({
    name: 'admin_ssh',
    login: 'root',
    session,
    hostKey: authorization.target.hostKeys[0]?.blob,
  })
  await access.upstreamOpened(authorization, session)
  await access.endSession(session, {
    tenant,
    exitStatus: 3,
    bytes: 99,
    reason: 'ended',
    recording: digest,
  })
  expect(await access.findSession(session)).toMatchObject({
    tenant: slug,
    live: false,
    exitStatus: 3,
    bytes: 99,
    reason: 'ended',
    recording: true,
    recordingSha256: digest.sha256,
  })
  expect(await fixture.live(tenant)).toEqual([])
  const logged = (await events()).filter(({ type }) => type.startsWith('session.'))
  expect(typesOf(logged)).toEqual(['session.start', 'session.open', 'session.end'])
  expect(logged[0]).toMatchObject({
    public: { session, grant: expect.any(String), node: 'node-1', kind: 'exec' },
    private: { userName: 'demo', login: 'root', command: 'ls\ufffd' },
  })
  expect(logged[2]).toMatchObject({ public: { exitStatus: '3', ended: 'ended', bytes: '99' } })
})

test('keeps what is no text of a client’s as text that can be stored', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const session = await open(access, demo, 'web1', { clientIdent: 'SSH-2.0-\0\ud800x'.padEnd(999) })
  await access.endSession(session, {
    tenant,
    bytes: 1,
    exitSignal: 'KILL\0',
    reason: 'no word, but a sentence',
  })
  const row = await access.session(tenant, session)
  expect(row?.clientIdent).toHaveLength(256)
  expect(row?.exitSignal).toBe('KILL\ufffd')
})

test('ends a session once, whoever comes second', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const session = await open(access, demo, 'web1')
  const ends = ['ended', 'killed', 'client-gone'].map((reason, exitStatus) =>
    access.endSession(session, { tenant, bytes: 1, reason, exitStatus }),
  )
  await Promise.all(ends)
  const first = await access.session(tenant, session)
  await access.endSession(session, { tenant, bytes: 5000, reason: 'late', exitStatus: 77 })
  expect(await access.session(tenant, session)).toEqual(first)
  expect(typesOf(await events()).filter((type) => type === 'session.end')).toHaveLength(1)
})

test.each([
  ['is open', 'opened_at = now()'],
  ['has ended', "ended_at = now(), reason = 'ended'"],
])('attack: a row that says that a session %s hides no target that it reaches', async (_, text) => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const authorization = allowed(await access.authorize(demo, shell))
  const { session } = await access.startSession(authorization, start)
  await database.app.write(tenant, (tx) => tx.run(`update session set ${text}`))
  const opened = () => access.upstreamOpened(authorization, session)
  await Promise.all([opened(), opened()])
  await opened()
  expect(typesOf(await events()).filter((type) => type === 'session.open')).toHaveLength(1)
  await access.endSession(session, { tenant, bytes: 0, reason: 'ended' })
  await expect(opened()).rejects.toMatchObject({ code: 'ERR_AUTHORIZATION' })
})

test('attack: an end that a login appends hides neither the true end nor its recording', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const session = await open(access, demo, 'web1')
  await database.app.write(tenant, async (tx) => {
    await tx.run("update session set ended_at = now(), reason = 'ended'")
    await appendEvent(tx, {
      type: 'session.end',
      public: { session, ended: 'exit', recordingDigest: `sha256:${'cd'.repeat(32)}` },
    })
  })
  await access.endSession(session, { tenant, bytes: 9, reason: 'killed', recording: digest })
  const ends = (await events()).filter(({ type }) => type === 'session.end')
  expect(ends.at(-1)).toMatchObject({
    public: { ended: 'killed', bytes: '9', recordingDigest: `sha256:${digest.sha256}` },
  })
})

test('has no recording of a session in which nothing was to be kept', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const session = await open(access, demo, 'web1')
  await access.endSession(session, { tenant, bytes: 0, reason: 'client-gone' })
  expect(await access.session(tenant, session)).toMatchObject({
    recording: false,
    recordingSha256: null,
  })
})

test('remembers who was where after the user and the target are gone', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const session = await open(access, demo, 'web1')
  await access.endSession(session, { tenant, bytes: 0, reason: 'ended' })
  await access.removeTarget(tenant, 'web1', actor)
  await auth.removeUser(tenant, 'demo', actor)
  expect(await access.session(tenant, session)).toMatchObject({ user: 'demo', target: 'web1' })
  expect(await access.listGrants(tenant)).toEqual([])
})

test('lists the newest first, a page at a time, live ones alone when asked', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  const ids: SessionId[] = []
  for (let i = 0; i < 5; i++) {
    ids.push(await open(access, demo, 'web1'))
    // Ids of the same millisecond have no order of their own.
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const newest = ids.toReversed()
  const [first, second, third] = newest
  if (first === undefined || second === undefined) throw new Error('five were started')
  const listed = async (list: Parameters<typeof access.sessions>[1]) =>
    (await access.sessions(tenant, list)).map(({ id }) => id)
  expect(await listed({})).toEqual(newest)
  expect(await listed({ limit: 2 })).toEqual([first, second])
  expect(await listed({ limit: 1, before: second })).toEqual([third])
  await access.endSession(first, { tenant, bytes: 0, reason: 'ended' })
  expect(await listed({ live: true })).toEqual(newest.slice(1))
  expect(await listed({ live: false })).toEqual([first])
})

test('refuses a forged authorization, one of which anything was changed, and a copy', async () => {
  const { demo, tenant } = await fixture.grantedPlace()
  await access.addTarget(tenant, { ...target2(), name: 'db1' }, actor)
  const good = allowed(await access.authorize(demo, { target: 'web1', ...shell }))
  const db1 = await access.findTarget(tenant, 'db1')
  if (db1 === undefined) throw new Error('it was added')
  const forgeries = [
    { ...good },
    structuredClone(good),
    { ...good, id: crypto.randomUUID() },
    { ...good, login: 'deploy' },
    { ...good, target: db1 },
    { ...good, target: { ...good.target, host: '203.0.113.66' } },
    { ...good, target: { ...good.target, hostKeys: db1.hostKeys } },
    { ...good, user: { ...good.user, name: 'root' } },
    { ...good, expiresAt: new Date(Date.now() + 1e9).toISOString() },
  ]
  for (const forged of forgeries) {
    const refused = { code: 'ERR_AUTHORIZATION' }
    await expect(access.startSession(forged, start)).rejects.toMatchObject(refused)
  }
  expect(await access.sessions(tenant)).toEqual([])
  // The object that was made cannot be changed, and is good.
  expect(() => Object.assign(good, { login: 'deploy' })).toThrow(TypeError)
  const { session } = await access.startSession(good, start)
  for (const forged of forgeries) {
    await expect(access.leaseKey(forged, session)).rejects.toMatchObject({
      code: 'ERR_AUTHORIZATION',
    })
  }
  await access.leaseKey(good, session)
})

test('starts one session with an authorization, also when asked twice at once', async () => {
  const { demo, tenant } = await fixture.grantedPlace()
  const authorization = allowed(await access.authorize(demo, shell))
  const asked = [1, 2, 3].map(() => access.startSession(authorization, start))
  const settled = await Promise.allSettled(asked)
  expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(await access.sessions(tenant)).toHaveLength(1)
})

test('starts with an authorization only what it was asked for', async () => {
  const { demo } = await fixture.grantedPlace()
  const authorization = allowed(await access.authorize(demo, shell))
  const sftp = access.startSession(authorization, { ...start, kind: 'sftp' })
  await expect(sftp).rejects.toMatchObject({ code: 'ERR_AUTHORIZATION' })
})

test('leases no key for another session than the one that was started', async () => {
  const { demo } = await fixture.grantedPlace()
  const authorization = allowed(await access.authorize(demo, shell))
  const { session } = await access.startSession(authorization, start)
  const other = await open(access, demo, 'web1')
  await expect(access.leaseKey(authorization, other)).rejects.toMatchObject({
    code: 'ERR_AUTHORIZATION',
  })
  const unstarted = allowed(await access.authorize(demo, shell))
  await expect(access.leaseKey(unstarted, session)).rejects.toMatchObject({
    code: 'ERR_AUTHORIZATION',
  })
})

test('refuses an authorization that has expired', async () => {
  const { demo } = await fixture.grantedPlace()
  const late = allowed(await access.authorize(demo, shell))
  const started = allowed(await access.authorize(demo, shell))
  const { session } = await access.startSession(started, start)
  // A minute to start a session, and a minute from its start on.
  const laterMs = performance.now() + 120_001
  const clock = vi.spyOn(performance, 'now').mockReturnValue(laterMs)
  try {
    const refused = { code: 'ERR_AUTHORIZATION' }
    await expect(access.startSession(late, start)).rejects.toMatchObject(refused)
    await expect(access.leaseKey(started, session)).rejects.toMatchObject(refused)
  } finally {
    clock.mockRestore()
  }
})

test('a clock that is set expires no authorization', async () => {
  const { demo } = await fixture.grantedPlace()
  const started = allowed(await access.authorize(demo, shell))
  vi.useFakeTimers({ toFake: ['Date'], now: Date.parse(started.expiresAt) + 3_600_000 })
  try {
    const { session } = await access.startSession(started, start)
    await access.leaseKey(started, session)
  } finally {
    vi.useRealTimers()
  }
})

test.each([
  [
    'the grant is removed',
    async ({ tenant, grant }: Opened) => {
      await access.removeGrant(tenant, grant.id, actor)
    },
  ],
  [
    'the target is removed',
    async ({ tenant }: Opened) => {
      await access.removeTarget(tenant, 'web1', actor)
    },
  ],
  [
    'the target is made anew elsewhere',
    async ({ tenant }: Opened) => {
      await access.removeTarget(tenant, 'web1', actor)
      await access.addTarget(tenant, target2(), actor)
      await access.addGrant(tenant, { user: 'demo', target: 'web1' }, actor)
    },
  ],
  [
    'the user is removed',
    async ({ tenant }: Opened) => {
      await auth.removeUser(tenant, 'demo', actor)
    },
  ],
  [
    'the key is removed',
    async ({ tenant, demo }: Opened) => {
      await auth.removeKey(tenant, demo.keyFingerprint, actor)
    },
  ],
  [
    'the tenant is suspended',
    async ({ tenant }: Opened) => {
      await database.app.write(tenant, (tx) => tx.run('update tenant set suspended_at = now()'))
    },
  ],
])('starts nothing when %s between the decision and the start', async (_what, revoke) => {
  const place = await fixture.grantedPlace()
  const authorization = allowed(await access.authorize(place.demo, shell))
  await revoke(place)
  await expect(access.startSession(authorization, start)).rejects.toMatchObject({
    code: 'ERR_ACCESS_REVOKED',
  })
  expect(await access.sessions(place.tenant)).toEqual([])
  expect(await fixture.live(place.tenant)).toEqual([])
  const logged = await place.events()
  expect(typesOf(logged)).not.toContain('session.start')
  expect(logged.at(-1)).toMatchObject({
    type: 'session.refused',
    public: { denied: 'revoked', code: 'ERR_ACCESS_REVOKED' },
  })
})

test('leaves no session behind whose start could not be logged', async () => {
  const { demo, tenant } = await fixture.grantedPlace()
  const authorization = allowed(await access.authorize(demo, shell))
  await database.superuser('alter table audit_leaf disable trigger user')
  await database.superuser(`
    create function refuse_start() returns trigger language plpgsql as $$
      begin raise exception 'no room'; end $$;
    create trigger refuse before insert on audit_leaf for each row execute function refuse_start()`)
  try {
    await expect(access.startSession(authorization, start)).rejects.toThrow('no room')
  } finally {
    await database.superuser('drop function refuse_start() cascade')
    await database.superuser('alter table audit_leaf enable trigger user')
  }
  expect(await access.sessions(tenant)).toEqual([])
  await open(access, demo, 'web1')
})

type Opened = Awaited<ReturnType<typeof fixture.grantedPlace>>

function target2() {
  const hostKeys = [{ type: 'ssh-ed25519', blob: newKey() }]
  return { name: 'web1', host: '192.0.2.99', port: 2222, logins: ['root'], hostKeys }
}
