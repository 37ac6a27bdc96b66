import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { SessionChannel } from '../../../../src/bastion/worker/session/session.ts'
import { type ChannelHandlers, Writer } from '../../../../src/ssh/index.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test('attack: a connection that ends by a refused subsystem gives back one place of its user', async () => {
  let over = 0
  let handlers: ChannelHandlers | undefined
  const channel = {
    handle: (given: ChannelHandlers) => {
      handlers = given
    },
    close: () => {},
    abort: () => {},
  }
  const context = {
    forceCommand: undefined,
    mayHavePty: true,
    // The end of the connection is told to its channels before this returns.
    endIfAlone: () => handlers?.close(),
  }
  const session = new SessionChannel(channel as never, context as never, () => void over++)
  const payload = new Writer().text('no-such-subsystem').build()
  handlers?.request({ name: 'subsystem', payload, wantReply: true, reply: () => {} })
  await vi.advanceTimersByTimeAsync(200_000)
  expect([over, session.live]).toEqual([1, false])
})
