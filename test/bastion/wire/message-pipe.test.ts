import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import {
  encodeFrame,
  MessagePipe,
  workerFrameBytesMax,
} from '../../../src/bastion/wire/message-pipe.ts'
import { fromWorkerShape } from '../../../src/bastion/wire/messages.ts'
import { WorkShare, workedMs } from '../../../src/work-share.ts'
import { eventually } from '../../support/installation.ts'

/** The main process's end of a pipe. It checks the shape of each message. */
function open() {
  const stream = new PassThrough()
  const received: boolean[] = []
  const failures: string[] = []
  const handlers = {
    received: (message: unknown) => void received.push(fromWorkerShape.safeParse(message).success),
    failed: (why: string) => void failures.push(why),
    ended: () => {},
  }
  const pipe = new MessagePipe(
    { from: stream, to: stream },
    handlers,
    workerFrameBytesMax,
    new WorkShare(),
  )
  return { stream, pipe, received, failures }
}

/** Milliseconds of the processor that it takes. */
function workOf(act: () => unknown): number {
  const before = workedMs()
  act()
  return workedMs() - before
}

const files = (asked: readonly unknown[], moved: readonly unknown[]) =>
  encodeFrame({ type: 'files', connection: 'x', session: 'y', notes: { asked, moved } })
const thousand = <Item>(make: (number: number) => Item) =>
  Array.from({ length: 1000 }, (_, number) => make(number))
const moved = thousand((number) => ({ number, read: 1, written: 1 }))

test('attack: a worker sends messages that cost much more than their bytes', async () => {
  const { stream, pipe, received } = open()
  const frame = files([], moved)
  const frames = Array.from({ length: 200 }, () => frame)
  const turnMs = workOf(() => stream.emit('data', Buffer.concat(frames)))
  // Others have their turn when a tenth of a second was spent; all of it takes a second.
  expect(received.length).toBeGreaterThan(0)
  expect(received.length).toBeLessThan(200)
  const first = received.length
  await eventually(() => received.length > first || undefined, 'the next messages')
  expect(stream.isPaused()).toBe(true)
  // A worker that has ended can cost no more than what is in the pipe.
  expect(turnMs).toBeLessThan(workOf(() => pipe.readOut()))
  expect([received.length, received.every(Boolean)]).toEqual([200, true])
  pipe.close()
})

test.each([
  ['no operations', '0,'],
  ['empty operations', '{},'],
  ['operations of something else', '{"a":0,"b":0},'],
])('attack: a worker sends one large message full of %s', (_what, item) => {
  const [head, tail] = ['{"type":"files","notes":{"asked":[', '{}]}}']
  const text = head + item.repeat((workerFrameBytesMax - 100) / item.length) + tail
  const frame = Buffer.alloc(4 + text.length, text)
  frame.copyWithin(4, 0)
  frame.writeUInt32BE(text.length, 0)
  const refuse = () => {
    const { stream, failures, received } = open()
    const ms = workOf(() => stream.emit('data', frame))
    expect([failures, received]).toEqual([['a message with too many parts'], []])
    return ms
  }
  const times = [1, 2, 3]
  // No more than a few times what the reading of the bytes as JSON takes.
  const parsedMs = times.map(() => workOf(() => JSON.parse(frame.subarray(4).toString())))
  expect(Math.min(...times.map(refuse))).toBeLessThan(5 * Math.min(...parsedMs))
})

test('the largest list of files that an honest worker has is read', () => {
  const { stream, pipe, received, failures } = open()
  const path = Buffer.alloc(400, '/')
  const asked = thousand((number) => ({
    op: 'open',
    number,
    path,
    to: path,
    flags: ['read', 'write', 'append', 'creat', 'trunc', 'excl', 'other'],
    attributes: ['size=0', 'uid=0', 'gid=0', 'mode=100644', 'atime=0', 'mtime=0', 'extended=1'],
    bytes: 1,
    count: 1,
  }))
  const frame = files(asked, moved)
  expect(frame.length).toBeGreaterThan(1024 ** 2)
  stream.emit('data', frame)
  expect([failures, received]).toEqual([[], [true]])
  pipe.close()
})
