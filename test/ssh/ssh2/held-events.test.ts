import { expect, test } from 'vitest'
import { HeldEvents } from '../../../src/ssh/ssh2/held-events.ts'
import { heldBytes } from '../../support/heap.ts'

test('attack: a million single bytes before anybody listens cost little more than their bytes', () => {
  const held = new HeldEvents()
  const before = heldBytes()
  for (let at = 0; at < 1_000_000; at++) held.data(Buffer.of(at & 255), 0)
  expect(heldBytes() - before).toBeLessThan(8_000_000)
  let bytes = 0
  let wrong = 0
  let longest = 0
  held.tell({
    data(chunk) {
      for (const byte of chunk) if (byte !== (bytes++ & 255)) wrong++
      longest = Math.max(longest, chunk.length)
    },
    extendedData: () => wrong++,
    request: () => wrong++,
    eof: () => wrong++,
    close: () => wrong++,
  })
  expect({ bytes, wrong, longest }).toEqual({ bytes: 1_000_000, wrong: 0, longest: 32_768 })
})
