import { expect, test } from 'vitest'
import { ReadPace, readBytesMax } from '../../../src/ssh/ssh2/read-pace.ts'

test('reads stay long while they are little work', () => {
  const pace = new ReadPace()
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
  expect(pace.spend(readBytesMax, 800)).toBe(false)
  expect(pace.bytes).toBe(4 * 1024)
  pace.spend(4 * 1024, 800)
  expect(pace.bytes).toBe(4 * 1024)
  for (let read = 0; read < 10; read++) pace.spend(pace.bytes, 0.1)
  expect(pace.bytes).toBe(readBytesMax)
})
