import { expect, test, vi } from 'vitest'
import type { Access, TargetChange } from '../../src/access/index.ts'
import type { SessionId } from '../../src/recorder/index.ts'
import { fingerprint } from '../../src/ssh/index.ts'
import {
  actor,
  allowed,
  denied,
  newKey,
  newTarget,
  open,
  openAccessFixture,
  shell,
  start,
} from './access-fixture.ts'

const fixture = await openAccessFixture()
const { access } = fixture

async function openPlace() {
  const place = await fixture.place()
  const demo = await place.person('demo')
  const target = await access.addTarget(place.tenant, newTarget('web1'), actor)
  const grant = await access.addGrant(place.tenant, { user: 'demo', target: 'web1' }, actor)
  const update = (change: TargetChange) => access.updateTarget(place.tenant, 'web1', change, actor)
  const updates = async () => (await place.events()).filter(({ type }) => type === 'target.update')
  return { ...place, demo, target, grant, update, updates }
}

const hostKey = () => ({ type: 'ssh-ed25519', blob: newKey() })
const printsOf = (keys: readonly { readonly blob: Buffer }[]) =>
  keys.map(({ blob }) => fingerprint(blob)).toSorted()

test('changes each fact in place, keeps the grants, and logs the old and the new value', async () => {
  const { tenant, demo, target, grant, update, updates } = await openPlace()
  const key = hostKey()
  const { before, after } = await update({
    host: 'web1.example',
    port: 2222,
    logins: ['deploy', 'ops'],
    auth: 'cert',
    hostKeys: { keys: [key], replace: true },
  })
  expect(before).toEqual(target)
  expect(after).toEqual({
    ...target,
    host: 'web1.example',
    port: 2222,
    logins: ['deploy', 'ops'],
    auth: 'cert',
    hostKeys: [key],
    generation: target.generation + 1,
  })
  expect(await access.findTarget(tenant, 'web1')).toEqual(after)
  expect(await access.listGrants(tenant)).toEqual([grant])
  expect(allowed(await access.authorize(demo, shell))).toMatchObject({
    target: { host: 'web1.example', port: 2222 },
    login: 'deploy',
  })
  expect(await updates()).toMatchObject([
    {
      public: {
        target: target.id,
        hostKey: printsOf([key]),
        hostKeyBefore: printsOf(target.hostKeys),
        auth: 'cert',
        authBefore: 'key',
        actor: 'cli',
      },
      private: {
        name: 'web1',
        host: 'web1.example',
        hostBefore: '192.0.2.7',
        port: '2222',
        portBefore: '22',
        logins: ['deploy', 'ops'],
        loginsBefore: ['root', 'deploy'],
        actorName: 'ops',
      },
    },
  ])
})

test('an old value stands on the log only where it differs', async () => {
  const { update, updates } = await openPlace()
  await update({ port: 2222, host: '192.0.2.7' })
  const [{ public: open, private: hidden } = { public: {}, private: undefined }] = await updates()
  expect(Object.keys({ ...open, ...hidden })).toContain('portBefore')
  for (const absent of ['hostBefore', 'loginsBefore', 'authBefore', 'hostKeyBefore']) {
    expect(Object.keys({ ...open, ...hidden })).not.toContain(absent)
  }
})

test('puts a host key beside the others, or in their place', async () => {
  const { target, update } = await openPlace()
  const [second, third] = [hostKey(), hostKey()]
  const added = await update({ hostKeys: { keys: [second], replace: false } })
  expect(printsOf(added.after.hostKeys)).toEqual(printsOf([...target.hostKeys, second]))
  expect(added.after.generation).toBe(target.generation)
  const replaced = await update({ hostKeys: { keys: [second, third], replace: true } })
  expect(printsOf(replaced.after.hostKeys)).toEqual(printsOf([second, third]))
  expect(replaced.after.generation).toBe(target.generation + 1)
})

test('a change to what is so already is no change, and not on the log', async () => {
  const { target, update, updates } = await openPlace()
  const { host, port, logins, auth, hostKeys } = target
  const change = { host, port, logins, auth, hostKeys: { keys: hostKeys, replace: true } }
  expect(await update(change)).toEqual({ before: target, after: target })
  expect(await updates()).toEqual([])
})

test.each<[string, TargetChange]>([
  ['an option for a host', { host: '-oProxyCommand=id' }],
  ['port 0', { port: 0 }],
  ['no login', { logins: [] }],
  ['a login of two lines', { logins: ['root\nroot'] }],
  ['no host key', { hostKeys: { keys: [], replace: true } }],
  [
    'a host key that is none',
    { hostKeys: { keys: [{ type: 'x', blob: Buffer.from('x') }], replace: true } },
  ],
  [
    'more host keys than a target has',
    { hostKeys: { keys: Array.from({ length: 16 }, hostKey), replace: false } },
  ],
])('refuses a change to %s, and changes nothing', async (_what, change) => {
  const { tenant, target, update, updates } = await openPlace()
  await expect(update({ port: 2222, ...change })).rejects.toMatchObject({
    code: 'ERR_TARGET_INVALID',
  })
  expect(await access.findTarget(tenant, 'web1')).toEqual(target)
  expect(await updates()).toEqual([])
})

test('changes no target of another tenant by the same name, and none that is not there', async () => {
  const [acme, globex] = [await openPlace(), await openPlace()]
  await acme.update({ host: '203.0.113.66' })
  expect(await access.findTarget(globex.tenant, 'web1')).toEqual(globex.target)
  const missing = access.updateTarget(acme.tenant, 'web9', { port: 1 }, actor)
  await expect(missing).rejects.toMatchObject({ code: 'ERR_TARGET_MISSING' })
})

test('of many changes at once none is lost, and the log has them in one order', async () => {
  const { tenant, target, update, updates } = await openPlace()
  const keys = Array.from({ length: 8 }, hostKey)
  await Promise.all([
    ...keys.map((key) => update({ hostKeys: { keys: [key], replace: false } })),
    ...[1001, 1002, 1003, 1004].map((port) => update({ port })),
    // Grants are added meanwhile.
    ...[1, 2, 3].map(() => access.addGrant(tenant, { user: 'demo', target: 'web1' }, actor)),
  ])
  const now = await access.findTarget(tenant, 'web1')
  expect(printsOf(now?.hostKeys ?? [])).toEqual(printsOf([...target.hostKeys, ...keys]))
  expect(now?.generation).toBe(target.generation + 4)
  const logged = await updates()
  expect(logged).toHaveLength(12)
  let port = '22'
  let hostKeys = printsOf(target.hostKeys)
  for (const { public: open, private: hidden } of logged) {
    expect(hidden?.portBefore ?? hidden?.port).toBe(port)
    expect([...((open.hostKeyBefore ?? open.hostKey) as string[])].toSorted()).toEqual(hostKeys)
    port = String(hidden?.port)
    hostKeys = [...(open.hostKey as string[])].toSorted()
  }
  expect(port).toBe(String(now?.port))
})

test('a change and a removal at once leave no target, whichever is first', async () => {
  const { tenant, update } = await openPlace()
  const [, changed] = await Promise.allSettled([
    access.removeTarget(tenant, 'web1', actor),
    update({ hostKeys: { keys: [hostKey()], replace: true } }),
  ])
  if (changed.status === 'rejected') {
    expect(changed.reason).toMatchObject({ code: 'ERR_TARGET_MISSING' })
  }
  expect(await access.findTarget(tenant, 'web1')).toBeUndefined()
})

/** A process with its ears open, and what it heard. */
async function listening(node: Access) {
  const heard = new Map<SessionId, string>()
  const session = (id: SessionId, reason: string) => void heard.set(id, reason)
  const close = await node.onKill({ session, forward: () => {} })
  return { heard, [Symbol.asyncDispose]: close }
}

test.each<[string, TargetChange, RegExp]>([
  ['has another address', { host: '203.0.113.66' }, /address or the host key/],
  ['has another port', { port: 2222 }, /address or the host key/],
  [
    'has another host key',
    { hostKeys: { keys: [hostKey()], replace: true } },
    /address or the host/,
  ],
  ['has no such login any more', { logins: ['deploy'] }, /access to this target ended/],
])('ends a session on another node when its target %s', async (_what, change, reason) => {
  const { demo, update } = await openPlace()
  const node = await fixture.another()
  await using its = await listening(node)
  const session = await open(node, demo, 'web1')
  await update(change)
  await vi.waitFor(() => expect(its.heard.get(session)).toMatch(reason), { timeout: 10_000 })
})

test('a session goes on when a key or a login is added', async () => {
  const { demo, update, tenant } = await openPlace()
  const node = await fixture.another()
  await using its = await listening(node)
  const session = await open(node, demo, 'web1')
  await update({ hostKeys: { keys: [hostKey()], replace: false } })
  await update({ logins: ['root', 'deploy', 'ops'], auth: 'cert' })
  // A change that ends another one has been looked at after those.
  await access.addTarget(tenant, newTarget('web2'), actor)
  await access.addGrant(tenant, { user: 'demo', target: 'web2' }, actor)
  const other = await open(node, demo, 'web2')
  await access.updateTarget(tenant, 'web2', { port: 2222 }, actor)
  await vi.waitFor(() => expect(its.heard.has(other)).toBe(true), { timeout: 10_000 })
  expect(its.heard.has(session)).toBe(false)
})

test('attack: what was authorized for the old address starts nothing after the change', async () => {
  const { demo, tenant, update } = await openPlace()
  const old = allowed(await access.authorize(demo, shell))
  await update({ host: '203.0.113.66' })
  await expect(access.startSession(old, start)).rejects.toMatchObject({
    code: 'ERR_ACCESS_REVOKED',
  })
  expect(await access.sessions(tenant)).toEqual([])
  const now = allowed(await access.authorize(demo, shell))
  await access.startSession(now, start)
})

test('a login that is gone is refused, with those that are there', async () => {
  const { demo, update } = await openPlace()
  await update({ logins: ['deploy'] })
  const denial = denied(await access.authorize(demo, { ...shell, login: 'root' }))
  expect(denial).toMatchObject({ code: 'ERR_LOGIN_NOT_GRANTED' })
  expect(denial.message).toContain('deploy')
})
