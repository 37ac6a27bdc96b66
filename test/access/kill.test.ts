import { expect, test, vi } from 'vitest'
import type { Access } from '../../src/access/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { actor, open, openAccessFixture } from './access-fixture.ts'

const fixture = await openAccessFixture()
const { access, auth, database } = fixture

async function openPlace() {
  const place = await fixture.place()
  const demo = await place.person('demo')
  await place.target('web1')
  const grant = await access.addGrant(place.tenant, { user: 'demo', target: 'web1' }, actor)
  return { ...place, demo, grant }
}

/** A process with its ears open, and what it heard. */
async function listening(node: Access) {
  const heard = new Map<SessionId, string>()
  const close = await node.onKill((session, reason) => void heard.set(session, reason))
  return { heard, [Symbol.asyncDispose]: close }
}

const hears = (heard: ReadonlyMap<SessionId, string>, session: SessionId, reason: RegExp) =>
  vi.waitFor(() => expect(heard.get(session)).toMatch(reason), { timeout: 10_000 })

test('ends a session on another node', async () => {
  const { tenant, demo, events } = await openPlace()
  const node = fixture.another()
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
  expect(await access.session(tenant, session)).toMatchObject({ live: false, reason: 'killed' })
})

test('says what became of the wish to end a session', async () => {
  const { tenant, demo, events } = await openPlace()
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
  const { demo } = await openPlace()
  const node = fixture.another()
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

test('takes nobody’s word for it that it does not understand', async () => {
  const { demo } = await openPlace()
  await using ours = await listening(access)
  const session = await open(access, demo, 'web1')
  for (const payload of ['', '{', '{"session":7}', JSON.stringify({ session })]) {
    await database.superuser("select pg_notify('vaultterm_session_kill', $1)", [payload])
  }
  await access.killSession(session, actor, 'the control')
  await hears(ours.heard, session, /^the control$/)
  expect(ours.heard.size).toBe(1)
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
  const place = await openPlace()
  const bystander = await place.person('bystander')
  await place.target('db1')
  await access.addGrant(place.tenant, { user: 'bystander', target: 'db1' }, actor)
  const node = fixture.another()
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
  const { tenant, demo, grant } = await openPlace()
  await access.addGrant(tenant, { role: 'member', target: '*' }, actor)
  await using ours = await listening(access)
  const session = await open(access, demo, 'web1')
  await access.removeGrant(tenant, grant.id, actor)
  await access.killSession(session, actor, 'the control')
  await hears(ours.heard, session, /^the control$/)
})

test('never leaves a session running that was started while its grant went', async () => {
  const node = fixture.another()
  await using its = await listening(node)
  for (let i = 0; i < 15; i++) {
    const { tenant, demo, grant } = await openPlace()
    const [started] = await Promise.allSettled([
      open(node, demo, 'web1'),
      access.removeGrant(tenant, grant.id, actor),
    ])
    if (started.status === 'fulfilled') await hears(its.heard, started.value, /ended/)
    else expect(await access.sessions(tenant)).toEqual([])
  }
})

test('hears nothing more once it is closed', async () => {
  const { demo } = await openPlace()
  const heard: SessionId[] = []
  const close = await access.onKill((session) => heard.push(session))
  await close()
  await using still = await listening(access)
  const session = await open(access, demo, 'web1')
  await access.killSession(session, actor, 'now')
  await hears(still.heard, session, /^now$/)
  expect(heard).toEqual([])
})

type Opened = Awaited<ReturnType<typeof openPlace>>
