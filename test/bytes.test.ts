import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { encodeFrame, MessagePipe } from '../src/bastion/wire/message-pipe.ts'
import { keep } from '../src/bytes.ts'

test('kept bytes are the same bytes in memory that holds nothing else', () => {
  const kept = keep(Buffer.from('seven b'))
  expect(kept.toString()).toBe('seven b')
  expect(kept.buffer.byteLength).toBe(7)
})

test('attack: bytes in a message of a worker pin no pool in the process that keeps them', () => {
  const stream = new PassThrough()
  const received: unknown[] = []
  const pipe = new MessagePipe(
    { from: stream, to: stream },
    {
      received: (message) => received.push(message),
      failed: (why) => received.push(why),
      ended: () => {},
    },
  )
  stream.emit('data', encodeFrame({ blob: Buffer.from('a host key') }))
  pipe.close()
  expect(received).toEqual([{ blob: Buffer.from('a host key') }])
  const [message] = received as [{ blob: Buffer }]
  expect(message.blob.buffer.byteLength).toBe(10)
})
