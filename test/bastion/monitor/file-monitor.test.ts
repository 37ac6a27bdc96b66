import { describe, expect, test } from 'vitest'
import { RequestForged } from '../../../src/bastion/monitor/errors.ts'
import type { Monitor } from '../../../src/bastion/monitor/monitor.ts'
import type { FileNotes, FileOperation } from '../../../src/bastion/wire/calls.ts'
import type { TenantId } from '../../../src/postgres/index.ts'
import type { SessionId } from '../../../src/recorder/index.ts'
import { allowed } from '../../access/access-fixture.ts'
import { openMonitorFixture, type Somebody } from './monitor-fixture.ts'

const fixture = await openMonitorFixture()
const { product } = fixture

/** A session of files on a worker. */
async function started(deps: Parameters<typeof fixture.monitor>[0] = {}) {
  const monitor = fixture.monitor(deps)
  const somebody = await fixture.somebody()
  const id = fixture.connect(monitor)
  await monitor.login(id, somebody.attempt(id))
  const authorization = allowed(await monitor.authorize(id, 'sftp'))
  const facts = { kind: 'sftp', clientIdent: 'SSH-2.0-OpenSSH_10.0' } as const
  const { session } = await monitor.startSession(id, authorization.id, facts)
  const note = (notes: Partial<FileNotes>) =>
    monitor.noteFiles(id, session, { asked: [], moved: [], ...notes })
  const record = (...operations: FileOperation[]) => monitor.recordFiles(id, session, operations)
  const told = async () =>
    (await product.audit.tail(somebody.tenant, { limit: 1000 }))
      .filter(({ type }) => type === 'file.operation' || type === 'session.end')
      .map(({ type, public: { operation, state, bytes, atLeast, status }, private: hidden }) => ({
        ...(type === 'session.end' ? { end: true } : { operation }),
        ...(state !== undefined && { state }),
        ...(bytes !== undefined && operation !== undefined && { bytes }),
        ...(atLeast !== undefined && { atLeast }),
        ...(status !== undefined && { status }),
        ...(hidden?.path !== undefined && { path: hidden.path }),
      }))
  return { monitor, id, session, note, record, told }
}

const act = (number: number, op: FileOperation['op'], path: string) =>
  ({ number, op, path: Buffer.from(path) }) as const
const openFile = (number: number, path: string, flags: FileOperation['flags']) =>
  ({ ...act(number, 'open', path), ...(flags && { flags }), code: 0, state: 'open' }) as const

test('a worker that ends without a word leaves its open files and unanswered requests on the log', async () => {
  const { monitor, note, record, told } = await started()
  note({ asked: [act(0, 'open', '/up'), act(1, 'open', '/down'), act(2, 'open', '/both')] })
  await record(
    openFile(0, '/up', ['write', 'creat']),
    openFile(1, '/down', ['read']),
    openFile(2, '/both', ['read', 'write']),
    { ...act(3, 'list', '/dir'), code: 0, state: 'open' },
  )
  note({
    moved: [
      { number: 0, written: 5_000_000 },
      { number: 2, read: 7 },
    ],
  })
  note({ asked: [act(4, 'remove', '/gone')] })
  await monitor.lost()
  const left = { state: 'interrupted' }
  expect((await told()).slice(4)).toEqual([
    { operation: 'remove', path: '/gone', ...left },
    { operation: 'write', path: '/up', bytes: '5000000', atLeast: true, ...left },
    { operation: 'read', path: '/down', bytes: 'unknown', ...left },
    { operation: 'read', path: '/both', bytes: '7', atLeast: true, ...left },
    { operation: 'write', path: '/both', bytes: 'unknown', ...left },
    { operation: 'close', path: '/dir', ...left },
    { end: true },
  ])
})

test('a session that ends as it should leaves nothing interrupted', async () => {
  const { monitor, id, session, note, record, told } = await started()
  note({ asked: [act(0, 'open', '/up'), act(1, 'remove', '/gone')] })
  await record(openFile(0, '/up', ['write']), { ...act(1, 'remove', '/gone'), code: 0 })
  await record({ ...act(0, 'write', '/up'), bytes: 3, code: 0 })
  await monitor.endSession(id, session, { bytes: 0, reason: 'ended' })
  expect(
    (await told()).map(
      ({ operation, state }: { operation?: unknown; state?: unknown }) => `${operation} ${state}`,
    ),
  ).toEqual(['open open', 'remove undefined', 'write undefined', 'undefined undefined'])
})

test('attack: a worker that tells of asked files and ends the session has them on the log all the same', async () => {
  const { monitor, id, session, note, told } = await started()
  note({ asked: [act(0, 'remove', '/etc/passwd')] })
  await monitor.endSession(id, session, { bytes: 0, reason: 'ended' })
  expect(await told()).toEqual([
    { operation: 'remove', path: '/etc/passwd', state: 'interrupted' },
    { end: true },
  ])
})

test('what the log does not take is written later, and the worker hears of it', async () => {
  const { access } = fixture.deps
  let isAway = true
  const monitor = fixture.monitor({
    access: {
      ...access,
      recordFiles: (...args) =>
        isAway ? Promise.reject(new Error('away')) : access.recordFiles(...args),
    },
  })
  const somebody = await fixture.somebody()
  const id = fixture.connect(monitor)
  await monitor.login(id, somebody.attempt(id))
  const authorization = allowed(await monitor.authorize(id, 'sftp'))
  const facts = { kind: 'sftp', clientIdent: 'SSH-2.0-OpenSSH_10.0' } as const
  const { session } = await monitor.startSession(id, authorization.id, facts)
  const removed = { ...act(0, 'remove', '/a'), code: 0 }
  await expect(monitor.recordFiles(id, session, [removed])).rejects.toThrow('away')
  await monitor.endSession(id, session, { bytes: 0, reason: 'audit-failed' })
  isAway = false
  await expect
    .poll(
      async () =>
        (await product.audit.tail(somebody.tenant, { limit: 100 })).filter(
          ({ type }) => type === 'file.operation',
        ).length,
      { timeout: 20_000 },
    )
    .toBe(1)
})

describe('attack: a tenant whose log takes nothing', () => {
  /** A session on a worker, with a file operation that is under way. */
  async function withFile(monitor: Monitor, who?: Somebody) {
    const somebody = who ?? (await fixture.somebody())
    const id = fixture.connect(monitor)
    await monitor.login(id, somebody.attempt(id))
    const authorization = allowed(await monitor.authorize(id, 'sftp'))
    const facts = { kind: 'sftp', clientIdent: 'SSH-2.0-OpenSSH_10.0' } as const
    const { session } = await monitor.startSession(id, authorization.id, facts)
    monitor.noteFiles(id, session, { asked: [act(0, 'remove', '/gone')], moved: [] })
    const told = async () =>
      (await product.audit.tail(somebody.tenant, { limit: 100 }))
        .filter(({ public: { session: of } }) => of === session)
        .map(({ type }) => type)
        .filter((type) => type === 'file.operation' || type === 'session.end')
    return { somebody, session, told }
  }

  test.each([
    ['hangs', () => new Promise<never>(() => {})],
    ['refuses', () => Promise.reject(new Error('no'))],
  ])('and %s holds up no other tenant’s files and ends of a lost worker', async (_, fail) => {
    const hostile: TenantId[] = []
    const { access } = fixture.deps
    const monitor = fixture.monitor({
      access: {
        ...access,
        recordFiles: (identity, ...args) =>
          hostile.includes(identity.tenant) ? fail() : access.recordFiles(identity, ...args),
      },
    })
    const attacker = await withFile(monitor)
    for (let more = 0; more < 10; more++) await withFile(monitor, attacker.somebody)
    hostile.push(attacker.somebody.tenant)
    const polite = await withFile(monitor)
    monitor.lost().catch(() => {})
    await expect.poll(polite.told).toEqual(['file.operation', 'session.end'])
  })

  test('for one session holds up none of the tenant’s other sessions', async () => {
    let refused: SessionId | undefined
    const { access } = fixture.deps
    const monitor = fixture.monitor({
      access: {
        ...access,
        recordFiles: (identity, place, session, operations) =>
          session === refused
            ? Promise.reject(new Error('no'))
            : access.recordFiles(identity, place, session, operations),
      },
    })
    const first = await withFile(monitor)
    const second = await withFile(monitor, first.somebody)
    refused = first.session
    await monitor.lost()
    expect(await second.told()).toEqual(['file.operation', 'session.end'])
    refused = undefined
    await expect.poll(first.told).toEqual(['session.end', 'file.operation'])
  })
})

test('attack: a worker cannot fill the memory of the main process with files', async () => {
  const { note } = await started()
  const path = 'x'.repeat(4096)
  const fill = () => {
    for (let from = 0; from < 100_000; from += 1000) {
      note({ asked: Array.from({ length: 1000 }, (_, at) => act(from + at, 'remove', path)) })
    }
  }
  expect(fill).toThrow(RequestForged)
  expect(() => note({ asked: [act(0, 'remove', '/a')] })).toThrow(/reported before/)
})

test('attack: a worker cannot fill it with the files of many sessions, each below its own bound', async () => {
  const monitor = fixture.monitor()
  const somebody = await fixture.somebody()
  const id = fixture.connect(monitor)
  await monitor.login(id, somebody.attempt(id))
  const removed = act(0, 'remove', 'x'.repeat(4096))
  const fill = async () => {
    const authorization = allowed(await monitor.authorize(id, 'sftp'))
    const facts = { kind: 'sftp', clientIdent: 'SSH-2.0-OpenSSH_10.0' } as const
    const { session } = await monitor.startSession(id, authorization.id, facts)
    for (let from = 0; from < 6000; from += 1000) {
      const asked = Array.from({ length: 1000 }, (_, at) => ({ ...removed, number: from + at }))
      monitor.noteFiles(id, session, { asked, moved: [] })
    }
  }
  for (let session = 0; session < 8; session++) await fill()
  await expect(fill()).rejects.toThrow(RequestForged)
})

test('attack: what waits for a log that takes nothing has a bound, and nothing of it is lost', async () => {
  let isAway = true
  const { access } = fixture.deps
  const { monitor, id, session, note, record, told } = await started({
    access: {
      ...access,
      recordFiles: (...args) =>
        isAway ? Promise.reject(new Error('away')) : access.recordFiles(...args),
    },
    fileLimits: { knownMax: 8000, allMax: 6000 },
  })
  const removed = (number: number) => ({ ...act(number, 'remove', `/${number}`), code: 0 })
  await expect(record(removed(0), removed(1), removed(2))).rejects.toThrow('away')
  note({ asked: [act(3, 'remove', '/3'), act(4, 'remove', '/4')] })
  // No memory for more: the call is refused, and what was told is kept.
  await expect(record(removed(3))).rejects.toMatchObject({ code: 'ERR_FILE_LIMIT' })
  expect(() => note({ asked: [act(5, 'remove', '/5')] })).toThrow(/too many open files/)
  await monitor.endSession(id, session, { bytes: 0, reason: 'audit-failed' })
  isAway = false
  await expect
    .poll(async () => (await told()).map((entry) => entry.path ?? 'the end'))
    .toEqual(['the end', '/0', '/1', '/2', '/3', '/4', '/5'])
})

test('memory that files took is free when they are closed and when they are on the log', async () => {
  const { note, record } = await started({ fileLimits: { knownMax: 4000, allMax: 4000 } })
  for (let number = 0; number < 20; number++) {
    note({ asked: [act(number, 'open', '/f')] })
    await record(openFile(number, '/f', ['read']))
    await record({ ...act(number, 'read', '/f'), bytes: 1, state: 'running' })
    await record({ ...act(number, 'read', '/f'), bytes: 1, code: 0 })
  }
})
