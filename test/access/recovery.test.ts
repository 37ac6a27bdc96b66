import { expect, test } from 'vitest'
import type { Unended } from '../../src/recorder/index.ts'
import { testRecorder } from '../support/recording.ts'
import { actor, open, openAccessFixture } from './access-fixture.ts'

const fixture = await openAccessFixture()

async function openPlace() {
  const place = await fixture.place()
  const demo = await place.person('demo')
  await place.target('web1')
  await fixture.access.addGrant(place.tenant, { user: 'demo', target: 'web1' }, actor)
  return { ...place, demo }
}

test('ends what a crash left open on this node, with what is left of its recording', async () => {
  const { tenant, demo, events } = await openPlace()
  await using its = await testRecorder()
  const node = `node-${crypto.randomUUID()}`
  const crashed = fixture.another()
  const seen = await open(crashed, demo, 'web1', { node })
  const unseen = await open(crashed, demo, 'web1', { node })
  const elsewhere = await open(crashed, demo, 'web1', { node: 'another-node' })
  const { output } = await its.begin({ tenant, session: seen })
  await output('before the crash')

  const next = fixture.another()
  const mend = (unended: Iterable<Unended>) => its.recorder.recover(unended)
  expect(await next.recoverSessions(node, mend)).toBe(2)
  expect(await next.session(tenant, seen)).toMatchObject({
    live: false,
    reason: 'interrupted',
    recording: true,
    recordingSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  })
  expect(await next.session(tenant, unseen)).toMatchObject({
    live: false,
    reason: 'interrupted',
    recording: false,
  })
  expect(await next.session(tenant, elsewhere)).toMatchObject({ live: true })
  const logged = (await events()).filter(({ type }) => /recovered|end$/.test(type))
  expect(logged.map(({ type }) => type)).toEqual([
    'recording.recovered',
    'session.end',
    'session.end',
  ])
  expect(logged[0]).toMatchObject({ public: { session: seen, truncated: false } })
  expect(logged[1]).toMatchObject({ public: { session: seen, ended: 'interrupted' } })

  expect(await next.recoverSessions(node, mend)).toBe(0)
})

test('does not end the sessions that this process has itself', async () => {
  const { tenant, demo } = await openPlace()
  const node = `node-${crypto.randomUUID()}`
  const process = fixture.another()
  const session = await open(process, demo, 'web1', { node })
  expect(await process.recoverSessions(node, async () => [])).toBe(0)
  expect(await process.session(tenant, session)).toMatchObject({ live: true })
})

test('ends nothing when the recordings cannot be mended', async () => {
  const { tenant, demo } = await openPlace()
  const node = `node-${crypto.randomUUID()}`
  const session = await open(fixture.another(), demo, 'web1', { node })
  const next = fixture.another()
  const failing = () => Promise.reject(new Error('disk away'))
  await expect(next.recoverSessions(node, failing)).rejects.toThrow('disk away')
  expect(await next.session(tenant, session)).toMatchObject({ live: true })
  expect(await next.recoverSessions(node, async () => [])).toBe(1)
})
