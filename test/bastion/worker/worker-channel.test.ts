import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { callLimits } from '../../../src/bastion/wire/call-limits.ts'
import type { ConnectionId } from '../../../src/bastion/wire/calls.ts'
import { WorkerChannel } from '../../../src/bastion/worker/worker-channel.ts'
import type { SessionId } from '../../../src/recorder/index.ts'

interface Sent {
  readonly type: string
  readonly connection?: string
  readonly id: number
  readonly call?: { readonly method: string; readonly args: readonly [string, ...unknown[]] }
}

/** A channel to a main process that has not answered. */
function open() {
  const sent: Sent[] = []
  /** The system has not taken these frames. */
  const untaken: (() => void)[] = []
  const channel = new WorkerChannel((frame, taken) => {
    sent.push(JSON.parse(String(frame.subarray(4))))
    if (taken !== undefined) untaken.push(taken)
  })
  const answer = (value: unknown, of = sent.at(-1)) =>
    channel.received({ type: 'answer', id: of?.id ?? -1, value })
  /** A connection on which this user is logged in. */
  const connect = async (user: string): Promise<ConnectionId> => {
    const id = `connection-of-${user}` as ConnectionId
    const entered = channel.broker.enterJump(id, user)
    await turn()
    answer({ user, tenant: 'acme', tenantSlug: 'acme', oneTooMany: false })
    await entered
    return id
  }
  const sentOf = (id: ConnectionId) =>
    sent.filter(({ connection, call }) => (connection ?? call?.args[0]) === id)
  return { channel, answer, connect, sentOf, untaken }
}

test('attack: a user whose calls the pace of the log holds back leaves turns for colleagues', async () => {
  const { channel, connect, answer, sentOf } = open()
  const [hostile, polite] = [await connect('hostile'), await connect('polite')]
  const before = sentOf(hostile).length
  const entry = { op: 'remove', number: 0, code: 0 } as const
  for (let session = 0; session < 2 * callLimits.atOnce; session++) {
    void channel.broker.recordFiles(hostile, `s${session}` as SessionId, [entry])
  }
  await turn()
  expect(sentOf(hostile).length - before).toBe(callLimits.pacedAtOnce)
  void channel.broker.authorize(polite, 'sftp')
  await turn()
  expect(sentOf(polite).at(-1)?.call?.method).toBe('authorize')
  // The next one goes when one is answered.
  answer(undefined, sentOf(hostile).at(-1))
  await turn()
  expect(sentOf(hostile).length - before).toBe(callLimits.pacedAtOnce + 1)
})

test('attack: long commands of a user whose calls are held back leave turns for long commands of others', async () => {
  const { channel, connect, sentOf } = open()
  const [hostile, polite] = [await connect('hostile'), await connect('polite')]
  const command = Buffer.alloc(100_000)
  const start = { kind: 'exec', command, clientIdent: 'x' } as const
  const before = [hostile, polite].map((id) => sentOf(id).length)
  for (let session = 0; session < 2 * callLimits.largeAtOnce; session++) {
    void channel.broker.startSession(hostile, 'a1', start)
  }
  await turn()
  expect(sentOf(hostile).length - (before[0] ?? 0)).toBe(callLimits.largeOfUser)
  void channel.broker.startSession(polite, 'a2', start)
  await turn()
  expect(sentOf(polite).length - (before[1] ?? 0)).toBe(1)
})

test('attack: notes of a user with hundreds of sessions wait, and a colleague’s goes soon', async () => {
  const { channel, connect, sentOf, untaken } = open()
  const [hostile, polite] = [await connect('hostile'), await connect('polite')]
  const note = (id: ConnectionId, session: string) => {
    const asked = [{ op: 'remove', number: 0, path: Buffer.from('/f') }] as const
    return channel.noteFiles(id, session as SessionId, { asked, moved: [] })
  }
  const notesOf = (id: ConnectionId) => sentOf(id).filter(({ type }) => type === 'files').length
  const told = Promise.all(Array.from({ length: 300 }, (_, at) => note(hostile, `s${at}`)))
  await turn()
  expect(notesOf(hostile)).toBeGreaterThan(0)
  expect(notesOf(hostile)).toBeLessThanOrEqual(8)
  const politelyTold = note(polite, 'p')
  // The two are served in turn.
  for (let taken = 0; taken < 2; taken++) {
    untaken.shift()?.()
    await turn()
  }
  expect(notesOf(polite)).toBe(1)
  // Nothing is dropped.
  while (untaken.length > 0) {
    untaken.shift()?.()
    await turn()
  }
  await Promise.all([told, politelyTold])
  expect(notesOf(hostile)).toBe(300)
})
