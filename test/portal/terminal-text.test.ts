import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'

type Part = readonly [start: number, length: number]
/** The terminal of the player, which is WebAssembly and has no name outside of its module. */
interface Terminal {
  readonly rows: number
  feed(text: string): unknown
  resize(cols: number, rows: number): unknown
  /** Where the characters of the line are in the memory of the terminal: their beginning and number. */
  getLine(row: number, cursor: boolean): { readonly codepoints: Part }
  getUint32Array(part: Part): Uint32Array
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

/** What is fed of the output, which comes as it is cut here. */
const fed = (chunks: readonly string[], cols = 80, rows = 24) => {
  const text = newText(cols, rows)
  return chunks.flatMap((chunk) => text.write(chunk)).join('')
}

test.each([
  'plain text\r\n\x1b[1;31mred\x1b[0m ✓ 👨‍👩',
  '\x1b[38;2;255;128;999m\x1b[?1049h\x1b[?2026l\x1b[5;2H',
  '\x1b]0;a title\x07\x1b(0lqk\x1b(B\x1bPq#0~~\x1b\\\x1b7\x1b8\x1bc',
  '\x1b[24;80H\x1b[2J\x1b[3;9r\x1b[10@\x1b[24S\x1b[!p\x1b[4 q',
  'x\x1b[65535b\x1b[00065535T\x1b[99999999999L\x9b65535M',
  '\x1b[655\r35M\x1b\x00[65535M\x1b[6\x7f5535M\x1b]0;\x1b[65535M\x1b[65\x1b[65535M\x1b[65535\x18M',
  `\x1b[${'0'.repeat(1000)}5;1H\x1b[5${';'.repeat(1000)}H\x1b[5;1👨H\ud83d|`,
])('attack: all of %j is fed, in whole and in characters', (text) => {
  expect(fed([text])).toBe(text)
  expect(fed(text.split(''))).toBe(text)
})

/** What is on the screen, and where the cursor is. */
function screenOf(terminal: Terminal) {
  const lines = Array.from({ length: terminal.rows }, (_, row) => {
    const { codepoints } = terminal.getLine(row, false)
    return String.fromCodePoint(...terminal.getUint32Array(codepoints))
  })
  return { lines, cursor: terminal.getCursor() }
}

/** Feeds the same to two terminals: one as the replay does, one as it came. */
async function twoTerminals(cols: number, rows: number) {
  const [replay, own] = await Promise.all([openTerminal(cols, rows), openTerminal(cols, rows)])
  const text = newText(cols, rows)
  return {
    feed(output: string) {
      for (const piece of text.write(output)) replay.feed(piece)
      own.feed(output)
    },
    resize(toCols: number, toRows: number) {
      text.resize(toCols, toRows)
      replay.resize(toCols, toRows)
      own.resize(toCols, toRows)
    },
    same: () => expect(screenOf(replay)).toEqual(screenOf(own)),
  }
}

test.each([
  ['a repetition that wraps', '\x1b[2;1H \x1b[239b\r\nDEED\x1b[4;1H\x1b[2K'],
  ['a repetition of 65535', '\x1b[2;1H \x1b[65535b\r\nDEED\x1b[4;1H\x1b[2K'],
  ['zeros before a number', `\x1b[24;1H\x1b[${'0'.repeat(300)}5;1HDEED\x1b[24;1H\x1b[2K`],
  ['a screen of E', `${'\x1b#8'.repeat(1000)}\x1b[2J\x1b[24;1H\x1b#8\x1b[JDEED\x1b[24;1H\x1b[2K`],
  ['a region below the screen', '\x1b[1;65535r\x1b[3;9r\x1b[99HDEED\n'],
])('attack: %s hides nothing in a replay that the terminal showed', async (_, output) => {
  for (const [cols, rows] of [
    [80, 24],
    [24, 80],
    [2, 1],
    [300, 100],
  ] as const) {
    const both = await twoTerminals(cols, rows)
    both.feed(`\x1b[2J${output}\x1b[${rows};1H$ `)
    both.same()
  }
})

test('a long text is cut between characters, and nothing of it is lost', () => {
  const text = 'x😀'.repeat(20_000)
  const pieces = newText(80, 24).write(text)
  expect(pieces.length).toBeGreaterThan(10)
  expect(pieces.join('')).toBe(text)
  for (const piece of pieces) expect(piece.isWellFormed()).toBe(true)
})

const expensive = ['#8', '[65535M', '[2J', 'c', '[65535S', '[65535T', '[65535L', '[65535b']
// Each inserts 65535 characters.
const insertion = '[4h\x1b[65535b'

test.each([...expensive.map((sequence) => [sequence, 6] as const), [insertion, 1] as const])(
  'attack: many of ESC %j, in %d kB, take seconds in a large terminal, no minute',
  async (sequence, kilobytes) => {
    const terminal = await openTerminal(300, 100)
    const text = `x\x1b${sequence}`.repeat((kilobytes * 1000) / (sequence.length + 2))
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

const numbers = ['', '0', '1', '2', '3', '5', '24', '80', '65535', '65541', `${'0'.repeat(300)}4`]
const beginnings = ['\x1b[', '\x1b[', '\x9b', '\x1b[?', '\x1b[>', '\x1b[6\x7f', '\x1b\0[', '\x1b[:']
const strings = [
  '\x1b]0;',
  '\x1bP1$',
  '\x90',
  '\x98',
  '\x1b^',
  '\x9d8;;',
  '\x1b(',
  '\x1b)',
  '\x1b#',
]
const ends = ['\x07', '\x1b\\', '\x9c', '\x18', '\x1a', '\x84', '\x85', '\x8d', '\r', '\x0f', '\b']

/** Output that is ordinary, hostile, or cut off. */
function someOutput(random: (below: number) => number): string {
  const one = (of: readonly string[]) => of[random(of.length)] ?? ''
  const kind = random(8)
  if (kind === 0) return one(strings)
  if (kind === 1) return one(ends)
  if (kind === 2) return `deed ${random(1000)}`
  if (kind > 4) return one(alphabet)
  const final = random(20)
    ? String.fromCharCode(0x40 + random(0x3f))
    : one(['', ' q', '👨', '\ud83d'])
  return one(beginnings) + [one(numbers), one(numbers)].join(one([';', ':', ''])) + final
}

test.each([1, 2, 3])(
  'attack: no output and no resize makes the terminal of a replay fail, or hides what it showed (%d)',
  async (seed) => {
    const random = seeded(seed)
    const size = () => [2 + random(random(2) ? 3 : 90), 1 + random(random(2) ? 3 : 40)] as const
    for (let round = 0; round < 25; round++) {
      const both = await twoTerminals(...size())
      for (let step = 0; step < 80; step++) {
        if (random(8) === 0) both.resize(...size())
        both.feed(someOutput(random))
      }
      both.same()
      // So much at once that it is cut into pieces.
      both.feed(Array.from({ length: 400 }, () => someOutput(random)).join(''))
      both.same()
    }
  },
)
