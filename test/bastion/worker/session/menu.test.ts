import { describe, expect, test } from 'vitest'
import type { ChoicePage, ChoiceQuery } from '../../../../src/bastion/wire/calls.ts'
import { LineMenu } from '../../../../src/bastion/worker/session/line-menu.ts'
import { Menu } from '../../../../src/bastion/worker/session/menu.ts'
import type { Picker, Verdict } from '../../../../src/bastion/worker/session/picker.ts'

const now = Date.parse('2026-11-24T12:00:00Z')
const size = { cols: 80, rows: 24 }
const names = ['db1', 'mail', 'web1', 'web2']
const choices = names.map((name) => ({ name }))
const open = (from = choices as { name: string; lastAt?: string }[], at = size) =>
  new Menu('VaultTerm acme', { choices: from, total: from.length }, at, () => now)
const type = (menu: Picker, text: string): Verdict => menu.input(Buffer.from(text, 'latin1'))
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
    { name: 'b', lastAt: '2026-11-24T11:30:00Z' },
    { name: 'c', lastAt: '2026-11-24T10:00:00Z' },
    { name: 'a' },
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
    ['/mail\r', 'mail'],
    ['web2/db\r', 'db1'],
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
  const menu = new Menu(evil, { choices: [{ name: evil }] }, size, () => now)
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

describe('a list that comes in pages', () => {
  const many = Array.from({ length: 1500 }, (_, at) => `host-${String(at).padStart(4, '0')}`)
  const perPage = 200

  /** What the main process answers: names that start with the text first, then by name. */
  function answer({ search, after }: ChoiceQuery): ChoicePage {
    const found = many
      .filter((name) => name.includes(search))
      .toSorted((a, b) => Number(b.startsWith(search)) - Number(a.startsWith(search)))
    const from = after === '' ? 0 : found.indexOf(after) + 1
    const choices = found.slice(from, from + perPage).map((name) => ({ name }))
    const next = from + perPage < found.length ? choices.at(-1)?.name : undefined
    return { choices, next, ...(after === '' && { total: found.length }) }
  }

  /** Types, and loads what is wanted, as the session does. Gives the last verdict. */
  function ask(picker: Picker, text: string): Verdict {
    let verdict = type(picker, text)
    for (;;) {
      const query = picker.wants()
      if (query === undefined) return verdict
      picker.take(query, answer(query))
      if ('wait' in verdict) verdict = picker.input(verdict.wait)
    }
  }

  const first = answer({ search: '', after: '' })
  const drawn = () => new Menu('VaultTerm acme', first, size, () => now)
  const lines = () => new LineMenu('VaultTerm acme', first)

  test('the menu says how many there are, and shows the first', () => {
    expect(plain(drawn().render())).toMatch(/host-0000.*1\/1500/s)
  })

  test.each(['host-0000', 'host-0199', 'host-0200', 'host-1499'])(
    'the menu opens %s by its name, typed ahead with Enter',
    (name) => {
      const verdict = ask(drawn(), `${name}\rls\r`)
      expect(verdict).toEqual({ open: name, rest: Buffer.from('ls\r') })
    },
  )

  test('Enter waits for the page of what was typed, and never opens something else', () => {
    const menu = drawn()
    const verdict = type(menu, '1499\r')
    expect(verdict).toEqual({ wait: Buffer.from('\r') })
    // A page that was asked for before the last key changes nothing.
    menu.take({ search: '1', after: '' }, answer({ search: '1', after: '' }))
    expect(type(menu, '\r')).toEqual({ wait: Buffer.from('\r') })
    expect(ask(menu, '\r')).toMatchObject({ open: 'host-1499' })
  })

  test.each([
    ['1499 times down', '\x1b[B'.repeat(1499)],
    ['End', '\x1b[F'],
    ['page after page', '\x1b[6~'.repeat(90)],
    ['Ctrl-N', '\x0e'.repeat(1499)],
  ])('loads page after page, to the last target: %s', (_how, keys) => {
    const menu = drawn()
    ask(menu, keys)
    expect(plain(menu.render())).toContain('1500/1500')
    expect(ask(menu, '\r')).toMatchObject({ open: 'host-1499' })
  })

  test('clearing the search shows the whole list again', () => {
    const menu = drawn()
    ask(menu, '149')
    expect(plain(menu.render())).toContain('1/12')
    ask(menu, '\x15')
    expect(plain(menu.render())).toContain('1/1500')
    expect(ask(menu, '\r')).toMatchObject({ open: 'host-0000' })
  })

  test('a terminal that cannot draw gets numbers, which stay the same', () => {
    const menu = lines()
    expect(menu.render()).toContain('   1  host-0000\r\n')
    ask(menu, '\r')
    expect(menu.render()).toContain(' 201  host-0200\r\n')
    ask(menu, '/-149\r')
    const found = menu.render()
    expect(found).toContain(' 401  host-1490\r\n')
    ask(menu, '/0200\r')
    expect(menu.render()).toContain(' 201  host-0200\r\n')
    expect(ask(menu, '401\r')).toMatchObject({ open: 'host-1490' })
  })

  test('a terminal that cannot draw opens any target by its name', () => {
    const menu = lines()
    menu.render()
    expect(ask(menu, 'host-9\r')).toEqual({ bell: false })
    expect(menu.render()).toContain('no target has that number or name')
    expect(ask(menu, 'host-1499\rls\r')).toEqual({ open: 'host-1499', rest: Buffer.from('ls\r') })
  })

  test('attack: whatever is typed and whichever page comes when, it goes on', () => {
    let random = 1
    const next = (below: number) => {
      random = (random * 1103515245 + 12345) % 2147483648
      return random % below
    }
    for (const picker of [drawn(), lines()]) {
      const late: ChoiceQuery[] = []
      for (let at = 0; at < 20_000; at++) {
        const byte = next(256)
        if (byte === 0x03 || byte === 0x04) continue
        const verdict = picker.input(Buffer.of(byte))
        if ('open' in verdict) expect(many).toContain(verdict.open)
        const query = picker.wants()
        if (query !== undefined) late.push(query)
        const come =
          late.length > 0 && next(3) === 0 ? late.splice(next(late.length), 1)[0] : undefined
        if (come !== undefined) picker.take(come, answer(come))
        expect(picker.render().length).toBeLessThan(40_000)
      }
    }
  })
})
