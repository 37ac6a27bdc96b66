import { expect, test } from 'vitest'
import { EarlyInput } from '../../../../src/bastion/worker/session/early-input.ts'
import type { ChannelRequest } from '../../../../src/ssh/index.ts'

const request = (bytes: number): ChannelRequest => ({
  name: 'signal',
  payload: Buffer.alloc(bytes),
  wantReply: false,
  reply: () => {},
})

test('attack: what a client asks for while its target is dialled does not fill the memory', () => {
  const early = new EarlyInput()
  expect(early.request(request(4097))).toBe(false)
  for (let count = 0; count < 64; count++) expect(early.request(request(4096))).toBe(true)
  expect(early.request(request(0))).toBe(false)
  expect(early.takeRequests()).toHaveLength(64)
})

test('many small pieces of early input become few, and none is lost', () => {
  const early = new EarlyInput()
  for (let at = 0; at < 10_000; at++) early.data(Buffer.of(at & 255))
  const pieces = early.takeData()
  expect(pieces.length).toBeLessThan(300)
  expect(Buffer.concat(pieces)).toEqual(
    Buffer.from(Array.from({ length: 10_000 }, (_, at) => at & 255)),
  )
})
