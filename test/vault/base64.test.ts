import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { base64Length, readBase64, writeBase64 } from '../../src/vault/base64.ts'

test('writes and reads every length as Node does', () => {
  for (let length = 0; length <= 100; length++) {
    const bytes = randomBytes(length)
    const text = Buffer.alloc(base64Length(length) + 2, '.')
    expect(writeBase64(bytes, text, 1)).toBe(text.length - 1)
    expect(text.toString()).toBe(`.${bytes.toString('base64')}.`)
    const into = Buffer.alloc(length)
    expect(readBase64(text.subarray(1, -1), into)).toBe(true)
    expect(into).toEqual(bytes)
  }
})

test('reads no text of another length, with other characters or with bits that belong to no byte', () => {
  const key = randomBytes(32)
  const right = key.toString('base64')
  const into = Buffer.alloc(32)
  expect(readBase64(Buffer.from(right), into)).toBe(true)
  for (let at = 0; at < right.length; at++) {
    for (const wrong of ['=', ' ', '-', '_', '\n', '\0', '\xc3', at === 43 ? 'A' : '=']) {
      if (right[at] === wrong) continue
      const text = Buffer.from(right, 'latin1')
      text[at] = wrong.charCodeAt(0)
      expect(readBase64(text, into), `${wrong} at ${at}`).toBe(false)
      expect(into, 'keeps nothing of it').toEqual(Buffer.alloc(32))
    }
  }
  // The last character has four bits of a byte and two of none: of each four, one is right.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  const accepted = [...alphabet].filter((character) =>
    readBase64(Buffer.from(`${right.slice(0, 42)}${character}=`), into),
  )
  expect(accepted).toHaveLength(16)
  for (const length of [0, 43, 45, 88])
    expect(readBase64(Buffer.alloc(length, 'A'), into)).toBe(false)
})
