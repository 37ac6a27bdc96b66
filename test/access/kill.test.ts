import { randomBytes } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import type { Access, ChannelKind, Forward } from '../../src/access/index.ts'
import { encodeEvent } from '../../src/audit/event.ts'
import type { AuditEvent } from '../../src/audit/index.ts'
import { appendValues } from '../../src/audit/queries.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { actor, open, openAccessFixture } from './access-fixture.ts'

const fixture = await openAccessFixture()
const { access, auth, database } = fixture

/** A process with its ears open, and what it heard. */
async function listening(node: Access) {
  const heard = new Map<SessionId, string>()
  const forwards = new Map<string, string>()
  const close = await node.onKill({
    session: (session, reason) => void heard.set(session, reason),
    forward: (forward, reason) => void forwards.set(forward, reason),
  })
  return { heard, forwards, [Symbol.asyncDispose]: close }
}

/** The next sweep would end it too, after 15 seconds. */
const soon = { timeout: 14_000 }

const hears = (heard: ReadonlyMap<SessionId, string>, session: SessionId, reason: RegExp) =>
  vi.waitFor(() => expect(heard.get(session)).toMatch(reason), soon)

test('ends a session on another node', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const node = await fixture.another()
  await using its = await listening(node)
  await using ours = await listening(access)
  const session = await open(node, demo, 'web1')
  const other = await open(node, demo, 'web1')
  expect(await access.killSession(session, actor, 'maintenance')).toBe('killed')
  await hears(its.heard, session, /^maintenance$/)
  expect(its.heard.has(other)).toBe(false)
  // It is no session of this process.
  expect(ours.heard.size).toBe(0)
  expect((await events()).at(-1)).toMatchObject({
    type: 'session.kill',
    public: { session, actor: 'cli', actorKind: 'operator' },
    private: { actorName: 'ops', reason: 'maintenance' },
  })
  expect(await access.session(tenant, session)).toMatchObject({ live: true })
  await node.endSession(session, { tenant, bytes: 0, reason: 'killed' })
  expect(await access.session(tenant, session)).toMatchObject({
    live: false,
    reason: 'killed',
    killReason: 'maintenance',
  })
})

test('says what became of the wish to end a session', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const session = await open(access, demo, 'web1')
  expect(await access.killSession(crypto.randomUUID(), actor)).toBe('unknown')
  expect(await access.killSession("'; --", actor)).toBe('unknown')
  expect(await access.killSession(session, actor)).toBe('killed')
  expect(await access.killSession(session, actor)).toBe('killed')
  await access.endSession(session, { tenant, bytes: 0, reason: 'killed' })
  expect(await access.killSession(session, actor)).toBe('not-live')
  const kills = (await events()).filter(({ type }) => type === 'session.kill')
  expect(kills).toHaveLength(1)
})

test('ends after an outage what was killed during it', async () => {
  const { demo } = await fixture.grantedPlace()
  const node = await fixture.another()
  await using its = await listening(node)
  const session = await open(node, demo, 'web1')
  // The mark without the word, as when the listening connection was lost at that moment.
  await database.superuser(
    "update session set killed_at = now(), kill_reason = 'unheard' where id = $1",
    [session],
  )
  await database.superuser(
    `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and query like 'listen %' or query = 'select 1'`,
  )
  await hears(its.heard, session, /^unheard$/)
})

test('attack: no notification ends a session, whatever it says', async () => {
  const { tenant, demo } = await fixture.grantedPlace()
  await using ours = await listening(access)
  const session = await open(access, demo, 'web1')
  const reason = 'your password expired: send it to evil.example'
  for (const payload of [
    '',
    '{',
    '{"session":7}',
    tenant,
    JSON.stringify({ session }),
    JSON.stringify({ tenant, session, reason }),
  ]) {
    for (const channel of ['vaultterm_session_kill', 'vaultterm_access_change']) {
      await database.superuser('select pg_notify($1, $2)', [channel, payload])
    }
  }
  await access.killSession(session, actor, 'the control')
  await hears(ours.heard, session, /./)
  expect(ours.heard.get(session)).toBe('the control')
})

/** Somebody has the application's login of the database. */
function asApp(tenant: TenantId, text: string, values: readonly unknown[]) {
  return database.app.write(tenant, (tx) => tx.many(text, values))
}

test.each(['killed_at = now()', "kill_reason = 'call 555 0100'", "killed_by = 'operator ann'"])(
  'attack: no login that serves sets %s and leaves no event',
  async (mark) => {
    const { tenant, demo } = await fixture.grantedPlace()
    const session = await open(access, demo, 'web1')
    await expect(
      asApp(tenant, `update session set ${mark} where id = $1`, [session]),
    ).rejects.toThrow('permission denied')
  },
)

test('attack: no session is marked by an event of another one, of another type, or without words', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const session = await open(access, demo, 'web1')
  const other = await open(access, demo, 'web1')
  const { userId: user, targetId: target } = await database.app.read(tenant, (tx) =>
    tx.one<{ userId: string; targetId: string }>(
      'select user_id as "userId", target_id as "targetId" from session where id = $1',
      [session],
    ),
  )
  const kill = (event: AuditEvent, subject: SessionId = session) => {
    const encoded = encodeEvent(event, { now: new Date(), random: randomBytes })
    const values = [subject, ...appendValues(encoded)]
    return asApp(tenant, 'select session_kill($1, $2, $3, $4, $5, $6)', values)
  }
  const before = await events()
  const honest = { type: 'session.kill', public: { session, user, target } } as const
  const told = { ...honest, private: { reason: 'maintenance' } }
  for (const [event, subject] of [
    [told, other],
    [{ ...told, public: { ...honest.public, user: crypto.randomUUID() } }],
    [{ ...told, type: 'session.start' }],
    [honest],
    [{ ...honest, private: { actorName: 'ann' } }],
  ] as const) {
    await expect(kill(event, subject)).rejects.toMatchObject({ code: 'VT014' })
  }
  expect(await events()).toEqual(before)
  // The control: the words are those of the event.
  await kill(told)
  await using ours = await listening(access)
  await access.killSession(session, actor)
  await hears(ours.heard, session, /^maintenance$/)
  expect(await events()).toHaveLength(before.length + 1)
})

test('attack: no session is marked by an event that the log has in other words', async () => {
  const { tenant, demo, events } = await fixture.grantedPlace()
  const session = await open(access, demo, 'web1')
  const { user, target, origin } = await database.app.read(tenant, (tx) =>
    tx.one<{ user: string; target: string; origin: string }>(
      'select user_id as user, target_id as target, origin from session, audit_tree where id = $1',
      [session],
    ),
  )
  const before = await events()
  const event = {
    type: 'session.kill',
    public: { session, user, target },
    private: { reason: 'mine' },
  } as const
  for (const value of [`"${session}`, `"${user}`, `"${target}`, '"session.kill']) {
    const {
      id,
      leaf,
      private: hidden,
    } = encodeEvent(event, {
      now: new Date(),
      random: randomBytes,
    })
    // What the door read told of this session; what would be logged has the log's name in this value.
    const told = `${leaf.before}${origin}${leaf.after}`
    const at = told.indexOf(value) + 1
    const values = [session, id, told.slice(0, at), told.slice(at), hidden?.salt, hidden?.payload]
    await expect(
      asApp(tenant, 'select session_kill($1, $2, $3, $4, $5, $6)', values),
    ).rejects.toMatchObject({ code: 'VT014' })
  }
  expect(await events()).toEqual(before)
  expect(await access.session(tenant, session)).toMatchObject({ live: true })
})

test('attack: a row that says that a live session ended keeps nobody from ending it', async () => {
  const { tenant, demo, grant } = await fixture.grantedPlace()
  await using ours = await listening(access)
  const session = await open(access, demo, 'web1')
  await asApp(tenant, "update session set ended_at = now(), reason = 'ended' where id = $1", [
    session,
  ])
  await access.removeGrant(tenant, grant.id, actor)
  await hears(ours.heard, session, /access to this target ended/)
})

test('shows the beginning and the end of long words, and has all of them on the log', async () => {
  const { demo, events } = await fixture.grantedPlace()
  await using ours = await listening(access)
  const session = await open(access, demo, 'web1')
  const words = `${'a'.repeat(300)}${'z'.repeat(300)}`
  await access.killSession(session, actor, words)
  await hears(ours.heard, session, /^a{100}…z{99}$/)
  expect((await events()).at(-1)).toMatchObject({ private: { reason: words } })
})

test.each([
  [
    'its grant is removed',
    /access to this target ended/,
    ({ tenant, grant }: Opened) => access.removeGrant(tenant, grant.id, actor),
  ],
  [
    'its target is removed',
    /target was removed/,
    ({ tenant }: Opened) => access.removeTarget(tenant, 'web1', actor),
  ],
  [
    'its user is removed',
    /account, or the key/,
    ({ tenant }: Opened) => auth.removeUser(tenant, 'demo', actor),
  ],
  [
    'its key is removed',
    /account, or the key/,
    ({ tenant, demo }: Opened) => auth.removeKey(tenant, demo.keyFingerprint, actor),
  ],
  [
    'its tenant is suspended',
    /suspended/,
    ({ tenant }: Opened) =>
      database.app.write(tenant, (tx) => tx.run('update tenant set suspended_at = now()')),
  ],
])('ends a session on another node when %s', async (_what, reason, revoke) => {
  const place = await fixture.grantedPlace()
  const bystander = await place.person('bystander')
  await place.target('db1')
  await access.addGrant(place.tenant, { user: 'bystander', target: 'db1' }, actor)
  const node = await fixture.another()
  await using its = await listening(node)
  const session = await open(node, place.demo, 'web1')
  const other = await open(node, bystander, 'db1')
  await revoke(place)
  await hears(its.heard, session, reason)
  if (!reason.test('suspended')) expect(its.heard.has(other)).toBe(false)
  const kill = (await place.events()).find(({ type }) => type === 'session.kill')
  expect(kill).toMatchObject({ public: { session, actorKind: 'system' } })
})

test('lets a session go on that another grant still covers', async () => {
  const { tenant, demo, grant } = await fixture.grantedPlace()
  await access.addGrant(tenant, { role: 'member', target: '*' }, actor)
  await using ours = await listening(access)
  const session = await open(access, demo, 'web1')
  await access.removeGrant(tenant, grant.id, actor)
  await access.killSession(session, actor, 'the control')
  await hears(ours.heard, session, /^the control$/)
})

test('never leaves a session running that was started while its grant went', async () => {
  const node = await fixture.another()
  await using its = await listening(node)
  for (let i = 0; i < 15; i++) {
    const { tenant, demo, grant } = await fixture.grantedPlace()
    const [started] = await Promise.allSettled([
      open(node, demo, 'web1'),
      access.removeGrant(tenant, grant.id, actor),
    ])
    if (started.status === 'fulfilled') await hears(its.heard, started.value, /ended/)
    else expect(await access.sessions(tenant)).toEqual([])
  }
})

/** What somebody has open on a node, and may have by two grants. */
async function openForwards() {
  const place = await fixture.grantedPlace()
  const { tenant, demo } = place
  const give = (allow: readonly ChannelKind[], forwards: readonly string[] = []) =>
    access.addGrant(tenant, { user: 'demo', target: 'web1', allow, forwards }, actor)
  const broad = await give(['forward', 'agent', 'x11'])
  await give(['forward'], ['db.example.org:5432'])
  const node = await fixture.another()
  const session = await open(node, demo, 'web1')
  const forward = (kind: Forward['kind'], port?: number): Forward => ({
    id: crypto.randomUUID(),
    session,
    kind,
    ...(port !== undefined && { destination: { host: 'db.example.org', port } }),
  })
  return { ...place, broad, node, session, forward }
}

test.each<[string, Forward['kind'], number | undefined, RegExp]>([
  ['leads where no grant does', 'forward', 22, /no longer allow this destination/],
  ['asks for an agent that no grant lends', 'agent', undefined, /no longer allow agent/],
  ['asks for a display that no grant lends', 'x11', undefined, /no longer allow x11/],
])('ends a forward that %s any more, and nothing else', async (_what, kind, port, reason) => {
  const { tenant, broad, node, session, forward } = await openForwards()
  await using its = await listening(node)
  const [taken, closed] = [forward(kind, port), forward(kind, port)]
  const kept = forward('forward', 5432)
  for (const each of [taken, closed, kept]) node.expectForward(each)
  node.forgetForward(closed)
  await access.removeGrant(tenant, broad.id, actor)
  await vi.waitFor(() => expect(its.forwards.get(taken.id)).toMatch(reason), soon)
  expect([...its.forwards.keys()]).toEqual([taken.id])
  expect(its.heard.size).toBe(0)
  expect(await access.session(tenant, session)).toMatchObject({ live: true })
})

test('ends a session with all its forwards, and says so once', async () => {
  const { tenant, demo, node, session, forward } = await openForwards()
  await using its = await listening(node)
  node.expectForward(forward('forward', 22))
  await auth.removeKey(tenant, demo.keyFingerprint, actor)
  await hears(its.heard, session, /key/)
  expect(its.forwards.size).toBe(0)
})

test('never leaves a forward open that was permitted while its grant went', async () => {
  for (let i = 0; i < 10; i++) {
    const { tenant, demo, broad, node, forward } = await openForwards()
    await using its = await listening(node)
    const agent = forward('agent')
    node.expectForward(agent)
    const [denial] = await Promise.all([
      node.permit(demo, { target: 'web1', kind: 'agent' }),
      access.removeGrant(tenant, broad.id, actor),
    ])
    if (denial === undefined)
      await vi.waitFor(() => expect(its.forwards.has(agent.id)).toBe(true), 30_000)
  }
})

test('hears nothing more once it is closed', async () => {
  const { demo } = await fixture.grantedPlace()
  const heard: SessionId[] = []
  const close = await access.onKill({
    session: (session) => void heard.push(session),
    forward: () => {},
  })
  await close()
  await using still = await listening(access)
  const session = await open(access, demo, 'web1')
  await access.killSession(session, actor, 'now')
  await hears(still.heard, session, /^now$/)
  expect(heard).toEqual([])
})

type Opened = Awaited<ReturnType<typeof fixture.grantedPlace>>
