import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'

/** The terminal of the player, which is WebAssembly and has no name outside of its module. */
interface Terminal {
  readonly rows: number
  feed(text: string): unknown
  resize(cols: number, rows: number): unknown
  getLine(row: number, cursor: boolean): unknown
  getCursor(): { readonly col: number; readonly row: number }
}
interface TerminalText {
  resize(cols: number, rows: number): void
  write(text: string): readonly string[]
}

let directory: string
let openTerminal: (cols: number, rows: number) => Promise<Terminal>
let newText: (cols: number, rows: number) => TerminalText
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'player-'))
  await cp(new URL('./', import.meta.resolve('asciinema-player')), directory, { recursive: true })
  const name = (await readdir(directory)).find((file) => file.startsWith('opts-')) ?? ''
  const source = await readFile(join(directory, name), 'utf8')
  await writeFile(join(directory, 'terminal.mjs'), `${source}\nexport { Vt }`)
  await writeFile(join(directory, 'package.json'), '{"type":"module"}')
  // Its templates are made when it is loaded, of elements that are not needed here.
  const element: unknown = new Proxy(() => {}, { get: () => element, apply: () => element })
  Object.assign(globalThis, { document: element, window: globalThis })
  const { Vt } = await import(pathToFileURL(join(directory, 'terminal.mjs')).href)
  const log = { debug() {}, info() {}, warn() {} }
  openTerminal = (cols, rows) => Vt.build(cols, rows, true, log)
  const own = new URL('../../web/portal/terminal-text.ts', import.meta.url).href
  const { TerminalText } = await import(own)
  newText = (cols, rows) => new TerminalText(cols, rows)
})
afterAll(() => rm(directory, { recursive: true }))

const written = (text: string, cols = 80, rows = 24) => newText(cols, rows).write(text).join('')
const writtenInCharacters = (text: string) => {
  const terminal = newText(80, 24)
  return text
    .split('')
    .flatMap((character) => terminal.write(character))
    .join('')
}

test.each([
  'plain text\r\n\x1b[1;31mred\x1b[0m ✓ 👨‍👩',
  '\x1b[38;2;255;128;999m\x1b[?1049h\x1b[?2026l\x1b[5;2H',
  '\x1b]0;a title\x07\x1b(0lqk\x1b(B\x1bPq#0~~\x1b\\\x1b7\x1b8\x1bc',
  '\x1b[24;80H\x1b[2J\x1b[3;9r\x1b[10@\x1b[24S\x1b[!p\x1b[4 q',
])('an honest %j is fed as it is', (text) => {
  expect(written(text)).toBe(text)
  expect(writtenInCharacters(text)).toBe(text)
})

test.each([
  ['x\x1b[65535b', 'x\x1b[80b'],
  ['\x1b[65535S\x1b[00065535T\x1b[99999999999L', '\x1b[24S\x1b[24T\x1b[24L'],
  ['\x9b65535M', '\x1b[24M'],
  ['\x1b[655\r35M', '\r\x1b[24M'],
  ['\x1b\x00[65535M', '\x00\x1b[24M'],
  ['\x1b[6\x7f5535M', '\x1b[24M'],
  ['\x1b]0;\x1b[65535M', '\x1b]0;\x1b[24M'],
  ['\x1b[65\x1b[65535M', '\x1b[24M'],
  ['\x1b[65535\x18M', '\x18M'],
])('attack: a count of %j is one of the size of the screen', (text, fed) => {
  expect(written(text)).toBe(fed)
  expect(writtenInCharacters(text)).toBe(fed)
})

test('attack: a sequence that never ends is not kept in memory, and does nothing', () => {
  expect(written(`\x1b[${'0'.repeat(1000)}65535M|`)).toBe('|')
})

test('a long text is cut between characters, and nothing of it is lost', () => {
  const text = 'x😀'.repeat(20_000)
  const pieces = newText(80, 24).write(text)
  expect(pieces.length).toBeGreaterThan(10)
  expect(pieces.join('')).toBe(text)
  for (const piece of pieces) expect(piece.isWellFormed()).toBe(true)
})

const expensive = ['#8', '[65535M', '[2J', 'c', '[65535S', '[65535T', '[65535L', '[65535b']

test.each(expensive)(
  'attack: 6 kB of ESC %s in a large terminal take seconds, no minute',
  async (sequence) => {
    const terminal = await openTerminal(300, 100)
    const text = `x\x1b${sequence}`.repeat(6000 / (sequence.length + 2))
    const pieces = newText(300, 100).write(`${text}\x1b[2J\x1b[HTHE-DEED`)
    // Of this thread's work, since a busy machine takes longer for the same.
    const start = process.threadCpuUsage()
    for (const piece of pieces) terminal.feed(piece)
    expect(process.threadCpuUsage(start).user).toBeLessThan(15_000_000)
    expect(pieces.length).toBeGreaterThan(1)
    expect(terminal.getCursor()).toMatchObject({ col: 8, row: 0 })
  },
)

/** The same numbers in every run: Mulberry32. */
function seeded(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

const alphabet = [
  ...[
    '\x1b[?1049h',
    '\x1b[?1049l',
    '\x1b7',
    '\x1b8',
    '\x1b[?6h',
    '\x1b[?7l',
    '\x1b[?7h',
    '\x1b[4h',
  ],
  ...['\x1b[4l', '\x1b[3;9r', '\x1b[r', '\x1b[5b', '\x1b[3@', '\x1b[3P', '\x1b[2L', '\x1b[2M'],
  ...['\x1b[99;99H', '\x1b[H', '\x1b[1K', '\x1b[J', '\x1b[1J', '\x1bc', '\x1b[!p', '\x1b[3X'],
  ...['\x1b[2S', '\x1b[2T', '\x1b[5I', '\x1b[5Z', '\x1b#8', '\x1b(0q', '\x0e', '\x1bM', '\t', '\n'],
  ...[
    '\u4e00',
    'a',
    '\u0301',
    '\ufe0f',
    '\u{1f468}\u200d',
    'x\x1b[65535b',
    '\x1b[1;1r',
    '\x1b[2;1',
  ],
]

test.each([1, 2, 3])(
  'attack: no output and no resize makes the terminal of a replay fail (%d)',
  async (seed) => {
    const random = seeded(seed)
    const size = () => [2 + random(random(2) ? 3 : 90), 1 + random(random(2) ? 3 : 40)] as const
    for (let round = 0; round < 60; round++) {
      const [cols, rows] = size()
      const terminal = await openTerminal(cols, rows)
      const text = newText(cols, rows)
      for (let step = 0; step < 80; step++) {
        if (random(8) === 0) {
          const [toCols, toRows] = size()
          text.resize(toCols, toRows)
          terminal.resize(toCols, toRows)
        }
        const pieces = text.write(alphabet[random(alphabet.length)] ?? '')
        for (const piece of pieces) terminal.feed(piece)
        for (let row = 0; row < terminal.rows; row++) terminal.getLine(row, true)
      }
    }
  },
)
