import { expect, test } from 'vitest'
import { ReadPace, readBytesMax } from '../../../src/ssh/ssh2/read-pace.ts'

/** Reads so many bytes that are little work. */
function readCheaply(pace: ReadPace, bytes: number): void {
  for (let left = bytes; left > 0; left -= pace.bytes) pace.spend(pace.bytes, 0.1)
}

test('reads become long, and stay so, while they are little work', () => {
  const pace = new ReadPace()
  readCheaply(pace, 16 * 2 ** 20)
  expect(pace.bytes).toBe(readBytesMax)
  pace.nextTurn()
  for (let read = 0; read < 3; read++) expect(pace.spend(readBytesMax, 1)).toBe(true)
  expect(pace.bytes).toBe(readBytesMax)
})

test('a socket has its time in each turn, and then waits for the next', () => {
  const pace = new ReadPace()
  expect(pace.spend(readBytesMax, 5)).toBe(true)
  expect(pace.spend(readBytesMax, 5)).toBe(false)
  pace.nextTurn()
  expect(pace.spend(readBytesMax, 5)).toBe(true)
})

test('attack: reads that are much work become short, and no shorter than a packet', () => {
  const pace = new ReadPace()
  expect(pace.spend(pace.bytes, 800)).toBe(false)
  expect(pace.bytes).toBe(4 * 1024)
  pace.spend(4 * 1024, 800)
  expect(pace.bytes).toBe(4 * 1024)
  readCheaply(pace, 16 * 2 ** 20)
  expect(pace.bytes).toBe(readBytesMax)
})

test('attack: some long packets get nobody a long read for a burst of short ones', () => {
  const pace = new ReadPace()
  expect(pace.bytes).toBe(64 * 1024)
  for (let read = 0; read < 8; read++) pace.spend(100_000, 0.1)
  expect(pace.bytes).toBe(64 * 1024)
  readCheaply(pace, 16 * 2 ** 20)
  pace.spend(pace.bytes, 80)
  for (let read = 0; read < 8; read++) pace.spend(100_000, 0.1)
  expect(pace.bytes).toBeLessThan(readBytesMax)
})
