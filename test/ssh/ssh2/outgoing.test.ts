import { expect, test } from 'vitest'
import { OutgoingQueue, type OutgoingTransport } from '../../../src/ssh/ssh2/outgoing.ts'
import { heldBytes } from '../../support/heap.ts'

/** A socket that takes all that the window allows. */
function openQueue(window: number) {
  const sent: { kind: number; bytes: Buffer }[] = []
  const transport: OutgoingTransport = {
    ready: true,
    wait: () => {},
    send: () => {},
    sendData: (_to, chunk) => void sent.push({ kind: 0, bytes: Buffer.from(chunk) }),
    sendExtendedData: (_to, chunk, kind) => void sent.push({ kind, bytes: Buffer.from(chunk) }),
  }
  const queue = new OutgoingQueue(transport, { sender: 1, window, packetMax: 32_768 })
  return { queue, sent }
}

test('attack: a million single bytes that cannot leave cost little more than their bytes', () => {
  const { queue, sent } = openQueue(0)
  let gone = 0
  const count = (bytes: number) => {
    gone += bytes
  }
  const before = heldBytes()
  for (let at = 0; at < 1_000_000; at++) {
    queue.push({ what: 'data', chunk: Buffer.of(at & 255), kind: 0, sent: count })
  }
  expect(heldBytes() - before).toBeLessThan(5_000_000)
  expect(queue.isOverfull).toBe(false)
  queue.widen(600_000)
  for (let turn = 0; turn < 20; turn++) queue.flush()
  expect(gone).toBe(600_000)
  const bytes = Buffer.concat(sent.map((one) => one.bytes))
  expect(bytes.every((byte, at) => byte === (at & 255))).toBe(true)
  queue.drop()
  expect(gone).toBe(1_000_000)
})

test('bytes of both streams keep their order, and each its kind', () => {
  const { queue, sent } = openQueue(0)
  const gone: number[] = []
  const count = (bytes: number) => void gone.push(bytes)
  const wanted: string[] = []
  for (let at = 0; at < 5000; at++) {
    const kind = at % 7 < 3 ? 0 : 1
    const chunk = Buffer.from(`${at};`.repeat(1 + (at % 500 === 0 ? 1000 : at % 3)))
    wanted.push(`${kind}${chunk.toString()}`)
    queue.push({ what: 'data', chunk, kind, sent: count })
  }
  for (let turn = 0; turn < 5000; turn++) {
    queue.widen(1 + (turn % 997))
    queue.flush()
  }
  const streams = [0, 1].map((kind) =>
    Buffer.concat(sent.filter((one) => one.kind === kind).map(({ bytes }) => bytes)).toString(),
  )
  const promised = [0, 1].map((kind) =>
    wanted
      .filter((one) => one.startsWith(String(kind)))
      .map((one) => one.slice(1))
      .join(''),
  )
  expect(streams).toEqual(promised)
  // Every change of the stream is where it was.
  const kinds = (all: readonly string[]) =>
    all.map((one) => one[0]).filter((kind, at, list) => kind !== list[at - 1])
  expect(kinds(sent.map(({ kind }) => String(kind)))).toEqual(kinds(wanted))
  expect(gone.reduce((sum, one) => sum + one, 0)).toBe(wanted.join('').length - wanted.length)
})

test('attack: changes between the streams without end are more than a sender may have wait', () => {
  const { queue } = openQueue(0)
  const sent = () => {}
  for (let at = 0; at < 70_000; at++) {
    queue.push({ what: 'data', chunk: Buffer.of(1), kind: at % 2, sent })
  }
  expect(queue.isOverfull).toBe(true)
  queue.drop()
  expect(queue.isOverfull).toBe(false)
})

test('an empty chunk and a large one are told of once', () => {
  const { queue } = openQueue(100_000)
  const gone: number[] = []
  queue.push({
    what: 'data',
    chunk: Buffer.alloc(0),
    kind: 0,
    sent: (bytes) => void gone.push(bytes),
  })
  queue.push({
    what: 'data',
    chunk: Buffer.alloc(2000),
    kind: 0,
    sent: (bytes) => void gone.push(bytes),
  })
  queue.flush()
  expect(gone).toEqual([0, 2000])
})
