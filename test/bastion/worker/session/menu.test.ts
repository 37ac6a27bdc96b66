import { describe, expect, test } from 'vitest'
import { Menu, type Verdict } from '../../../../src/bastion/worker/session/menu.ts'

const now = Date.parse('2026-11-24T12:00:00Z')
const size = { cols: 80, rows: 24 }
const names = ['web1', 'web2', 'db1', 'mail']
const choices = names.map((name) => ({ name }))
const open = (from = choices as { name: string; lastAt?: string }[], at = size) =>
  new Menu('VaultTerm acme', from, at, () => now)
const type = (menu: Menu, text: string): Verdict => menu.input(Buffer.from(text, 'latin1'))
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for.
const plain = (screen: string) => screen.replace(/\x1b\[[0-9;?]*[A-Za-z]/g, '')
const opened = (verdict: Verdict) => ('open' in verdict ? verdict.open : undefined)

test('shows all by name, and the first is chosen', () => {
  const menu = open()
  const screen = plain(menu.render()).split('\r\n')
  expect(screen).toHaveLength(24)
  expect(screen.slice(3, 7).map((line) => line.trim())).toEqual(['db1', 'mail', 'web1', 'web2'])
  expect(screen.at(-1)).toContain('1/4')
  expect(opened(type(menu, '\r'))).toBe('db1')
})

test('shows those first that were used last', () => {
  const menu = open([
    { name: 'a' },
    { name: 'b', lastAt: '2026-11-24T11:30:00Z' },
    { name: 'c', lastAt: '2026-11-24T10:00:00Z' },
  ])
  const screen = plain(menu.render())
  expect(screen).toMatch(/b +30 min ago.*\n.* c +2 h ago.*\n +a/s)
})

describe('keys', () => {
  test.each([
    ['\x1b[B\r', 'mail'],
    ['\x1bOB\x1bOB\r', 'web1'],
    ['\x1b[F\r', 'web2'],
    ['\x1b[6~\r', 'web2'],
    ['\x1b[F\x1b[A\r', 'web1'],
    ['\x1b[A\r', 'db1'],
    ['\x0e\x0e\x10\r', 'mail'],
    ['web\r', 'web1'],
    ['WEB2\r', 'web2'],
    ['b1\r', 'db1'],
    ['webx\x7f\x1b[B\r', 'web2'],
    ['nothing\x15mail\r', 'mail'],
    ['\x1bx\x1b[200~\r', 'db1'],
    ['\n', 'db1'],
  ])('%j', (keys, name) => {
    expect(opened(type(open(), keys))).toBe(name)
    // In whatever pieces they come.
    const menu = open()
    let last: Verdict = { bell: false }
    for (const key of keys) last = type(menu, key)
    expect(opened(last)).toBe(name)
  })

  test('what is typed behind the choice is for the session', () => {
    const verdict = type(open(), 'mail\rls\r')
    expect(verdict).toMatchObject({ open: 'mail' })
    expect('rest' in verdict && verdict.rest.toString()).toBe('ls\r')
  })

  test.each(['\x03', '\x04'])('%j leaves', (key) => {
    expect(type(open(), key)).toEqual({ leave: true })
  })

  test('ESC by itself takes the filter back, and then leaves', () => {
    const menu = open()
    type(menu, 'web\x1b')
    expect(menu.isEscapePending).toBe(true)
    expect(menu.escape()).toEqual({ bell: false })
    expect(plain(menu.render())).toContain('db1')
    type(menu, '\x1b')
    expect(menu.escape()).toEqual({ leave: true })
  })

  test('Enter on nothing rings', () => {
    expect(type(open(), 'zzz\r')).toEqual({ bell: true })
  })
})

test.each([
  [80, 24],
  [20, 8],
  [10, 4],
  [1, 1],
  [1000, 1000],
])('fits %i by %i, wherever the choice is', (cols, rows) => {
  const many = Array.from({ length: 500 }, (_, at) => ({
    name: `host-${String(at).padStart(3, '0')}`,
  }))
  const menu = open(many, { cols, rows })
  for (const keys of ['', '\x1b[6~', '\x1b[F', '\x1b[A', '\x1b[H', 'host-4', '\x1b[F']) {
    type(menu, keys)
    const lines = plain(menu.render()).split('\r\n')
    expect(lines.length).toBeLessThanOrEqual(Math.max(rows, 2))
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(Math.max(cols, 10))
  }
  expect(opened(type(menu, '\r'))).toBe('host-499')
})

test('TE-01: a name that is a trick is shown, and not obeyed', () => {
  const evil = '\x1b]0;owned\x07\x1b[2J\u202e\x9b31m\r\n'
  const menu = new Menu(evil, [{ name: evil }], size, () => now)
  const screen = menu.render()
  for (const bad of ['\x1b]', '\x07', '\x1b[2J', '\u202e', '\x9b'])
    expect(screen).not.toContain(bad)
  expect(screen.split('\r\n')).toHaveLength(24)
  // The same in what is typed.
  type(menu, '\x1b]0;owned\x07')
  expect(menu.render()).not.toContain('\x07')
})

test('attack: whatever is typed, it goes on', () => {
  const menu = open()
  let random = 1
  for (let at = 0; at < 20_000; at++) {
    random = (random * 1103515245 + 12345) % 2147483648
    const byte = random % 256
    if (byte === 0x0d || byte === 0x0a || byte === 0x03 || byte === 0x04) continue
    menu.input(Buffer.of(byte))
    if (at % 500 === 0) expect(menu.render().length).toBeLessThan(20_000)
  }
})
