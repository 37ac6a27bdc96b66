import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { printRecording } from '../../src/cli/recording-output.ts'

const lines = [
  { version: 3, term: { cols: 80, rows: 24 } },
  [0.1, 'o', 'C1 \u009b2J, bidi \u202e, tag \u{e0041}, plain ✓ 👨 é\r\n\x1b[2J'],
]
const recording = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))

async function printed(isTTY: boolean): Promise<Buffer> {
  const stdout = Object.assign(new PassThrough(), { isTTY })
  // Each byte comes alone: a character is in several of them.
  const bytes = (async function* () {
    for (const byte of recording) yield Buffer.of(byte)
  })()
  await printRecording(stdout, bytes)
  return stdout.read()
}

test('attack: a recording that is exported to a terminal moves and reorders nothing on it', async () => {
  const text = (await printed(true)).toString()
  expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u)
  expect(text).toContain('plain ✓ 👨 é')
  expect(
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual(lines)
})

test('a recording that is exported elsewhere keeps every byte', async () => {
  expect(await printed(false)).toEqual(recording)
})
