import { createHash, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { FileOperation } from '../../../../src/access/index.ts'
import { SftpWatch } from '../../../../src/bastion/worker/sftp/sftp-watch.ts'
import { Writer } from '../../../../src/ssh/wire.ts'

const packet = (type: number, build: (writer: Writer) => Writer): Buffer =>
  new Writer().string(build(new Writer().u8(type)).build()).build()
const ask = (type: number, id: number, build: (writer: Writer) => Writer = (writer) => writer) =>
  packet(type, (writer) => build(writer.u32(id)))
const status = (id: number, code = 0) =>
  ask(101, id, (writer) => writer.u32(code).text('').text(''))
const handle = (id: number, name: string) => ask(102, id, (writer) => writer.text(name))
const init = packet(1, (writer) => writer.u32(3))
const version = packet(2, (writer) => writer.u32(3))
const opened = (id: number, path: string) => ask(3, id, (writer) => writer.text(path).u32(1).u32(0))
const read = (id: number, name: string, offset: number, length: number) =>
  ask(5, id, (writer) => writer.text(name).u64(BigInt(offset)).u32(length))
const write = (id: number, name: string, offset: number, data: Buffer) =>
  ask(6, id, (writer) => writer.text(name).u64(BigInt(offset)).string(data))
const data = (id: number, bytes: Buffer) => ask(103, id, (writer) => writer.string(bytes))
const close = (id: number, name: string) => ask(4, id, (writer) => writer.text(name))
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

type Step = readonly ['up' | 'down', Buffer]

/** What is told of a conversation that comes in pieces of so many bytes. */
function watch(steps: readonly Step[], pieceBytes = 1 << 20): FileOperation[] {
  const told: FileOperation[] = []
  const watched = new SftpWatch((operation) => void told.push(operation))
  for (const [way, bytes] of steps) {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const piece = Buffer.from(bytes.subarray(at, at + pieceBytes))
      watched[way](piece)
      // As the connection does with its memory.
      piece.fill(0xee)
    }
  }
  watched.end()
  return told
}

const bytes = randomBytes(100_000)
const [first, second] = [bytes.subarray(0, 60_000), bytes.subarray(60_000)]
const start: Step[] = [
  ['up', init],
  ['down', version],
]
const both: Step[] = [
  ...start,
  ['up', opened(1, '/etc/motd')],
  ['down', handle(1, 'h1')],
  [
    'up',
    Buffer.concat([
      read(2, 'h1', 0, 60_000),
      read(3, 'h1', 60_000, 60_000),
      read(4, 'h1', 100_000, 1),
    ]),
  ],
  ['down', Buffer.concat([data(2, first), data(3, second), status(4, 1)])],
  ['up', close(5, 'h1')],
  ['down', status(5)],
  ['up', opened(6, '/srv/new')],
  ['down', handle(6, 'h1')],
  ['up', Buffer.concat([write(7, 'h1', 0, first), write(8, 'h1', 60_000, second)])],
  ['down', Buffer.concat([status(7), status(8)])],
  ['up', close(9, 'h1')],
  ['down', status(9)],
  ['up', ask(18, 10, (writer) => writer.text('/srv/new').text('/srv/old'))],
  ['down', status(10, 4)],
  ['up', ask(200, 11, (writer) => writer.text('posix-rename@openssh.com').text('/a').text('/b'))],
  ['down', status(11)],
  ['up', ask(13, 12, (writer) => writer.text('/b'))],
  ['down', status(12)],
  ['up', ask(17, 13, (writer) => writer.text('/b'))],
  ['down', status(13, 2)],
]
const expected: FileOperation[] = [
  { op: 'read', path: '/etc/motd', bytes: 100_000, sha256: sha256(bytes), code: 0 },
  { op: 'write', path: '/srv/new', bytes: 100_000, sha256: sha256(bytes), code: 0 },
  { op: 'rename', path: '/srv/new', to: '/srv/old', code: 4 },
  { op: 'rename', path: '/a', to: '/b', code: 0 },
  { op: 'remove', path: '/b', code: 0 },
]

test.each([1 << 20, 32_768, 1000, 17, 3, 1])(
  'tells the same in pieces of %i bytes',
  (pieceBytes) => {
    expect(watch(both, pieceBytes)).toEqual(expected)
  },
)

test('a transfer with a gap has no hash, and one that was refused neither', () => {
  const gap: Step[] = [
    ...start,
    ['up', opened(1, '/a')],
    ['down', handle(1, 'h')],
    ['up', write(2, 'h', 5, first)],
    ['down', status(2)],
    ['up', close(3, 'h')],
    ['down', status(3)],
    ['up', opened(4, '/b')],
    ['down', handle(4, 'h')],
    ['up', write(5, 'h', 0, first)],
    ['down', status(5, 4)],
    ['up', close(6, 'h')],
    ['down', status(6)],
  ]
  expect(watch(gap)).toEqual([
    { op: 'write', path: '/a', bytes: 60_000, code: 0 },
    { op: 'write', path: '/b', bytes: 60_000, code: 0 },
  ])
})

test('what was not closed, and what could not be opened, is told', () => {
  expect(
    watch([
      ...start,
      ['up', Buffer.concat([opened(1, '/a'), opened(2, '/secret')])],
      ['down', Buffer.concat([handle(1, 'h'), status(2, 3)])],
      ['up', write(3, 'h', 0, first)],
    ]),
  ).toEqual([
    { op: 'open', path: '/secret', code: 3 },
    // Whether it was written, nobody has said.
    { op: 'write', path: '/a', bytes: 60_000 },
  ])
})

test('attack: what is cut off in its middle makes no digest of what never was a file', () => {
  const opening: Step[] = [
    ...start,
    ['up', opened(1, '/a')],
    ['down', handle(1, 'h')],
    ['up', write(2, 'h', 0, first)],
    ['down', status(2)],
  ]
  const cut = write(3, 'h', 60_000, second).subarray(0, -1)
  expect(watch([...opening, ['up', cut]])).toEqual([{ op: 'write', path: '/a', bytes: 99_999 }])
  // Control: without it, what is there is known.
  expect(watch(opening)).toEqual([
    { op: 'write', path: '/a', bytes: 60_000, sha256: sha256(first) },
  ])
  const answer = data(5, second).subarray(0, -1)
  const readCut: Step[] = [...opening, ['up', read(5, 'h', 0, 60_000)], ['down', answer]]
  expect(watch(readCut)).toContainEqual({ op: 'read', path: '/a', bytes: 39_999 })
})

test('what was asked and not answered may have been done, and is told', () => {
  const told = watch([
    ...start,
    ['up', Buffer.concat([opened(1, '/a'), ask(13, 2, (writer) => writer.text('/b'))])],
  ])
  expect(told).toEqual([
    { op: 'open', path: '/a' },
    { op: 'remove', path: '/b' },
  ])
})

test('takes read-ahead that comes behind a close, and gets nothing', () => {
  const told = watch([
    ...start,
    ['up', opened(1, '/a')],
    ['down', handle(1, 'h')],
    ['up', Buffer.concat([read(2, 'h', 0, 10), close(3, 'h'), read(4, 'h', 10, 10)])],
    ['down', Buffer.concat([data(2, Buffer.from('ten bytes!')), status(3), status(4, 4)])],
  ])
  expect(told).toEqual([
    { op: 'read', path: '/a', bytes: 10, sha256: sha256(Buffer.from('ten bytes!')), code: 0 },
  ])
})

describe('CH-19: what cannot be watched is not let through', () => {
  test.each<[string, Step[]]>([
    ['a packet of 4 GiB', [['up', Buffer.from('ffffffff05', 'hex')]]],
    ['a packet of nothing', [['up', Buffer.alloc(4)]]],
    ['a packet of 300 KiB', [['up', Buffer.from('0004b00006', 'hex')]]],
    ['an unknown request', [['up', ask(99, 1)]]],
    [
      'an unknown answer',
      [
        ['up', opened(1, '/a')],
        ['down', ask(150, 1)],
      ],
    ],
    ['an answer to nothing', [['down', status(7)]]],
    [
      'two answers to one',
      [
        ['up', opened(1, '/a')],
        ['down', Buffer.concat([status(1), status(1)])],
      ],
    ],
    ['one id for two', [['up', Buffer.concat([opened(1, '/a'), opened(1, '/b')])]]],
    [
      'a handle for no open',
      [
        ['up', ask(13, 1, (writer) => writer.text('/a'))],
        ['down', handle(1, 'h')],
      ],
    ],
    [
      'data for no read',
      [
        ['up', opened(1, '/a')],
        ['down', data(1, first)],
      ],
    ],
    [
      'a path that is longer than its packet',
      [['up', ask(13, 1, (writer) => writer.u32(0xffff_ffff))]],
    ],
    ['a handle that is too long', [['up', close(1, 'x'.repeat(300))]]],
    ['a second start', [['up', Buffer.concat([init, init])]]],
    [
      'a write to a handle that was guessed',
      [['up', Buffer.concat([opened(1, '/a'), write(2, 'h', 0, first), close(3, 'h')])]],
    ],
    [
      'a close of a handle that was guessed, which would make a decoy of its file',
      [
        ['up', Buffer.concat([opened(1, '/decoy'), close(2, 'h')])],
        ['down', Buffer.concat([handle(1, 'h'), status(2)])],
        ['up', Buffer.concat([opened(3, '/b'), write(4, 'h', 0, first), close(5, 'h')])],
      ],
    ],
    [
      'a write to a handle that is being closed',
      [
        ['up', opened(1, '/a')],
        ['down', handle(1, 'h')],
        ['up', Buffer.concat([close(2, 'h'), opened(3, '/b'), write(4, 'h', 0, first)])],
      ],
    ],
    [
      'data for a handle that was guessed',
      [
        ['up', Buffer.concat([opened(1, '/a'), read(2, 'h', 0, 60_000)])],
        ['down', Buffer.concat([handle(1, 'h'), data(2, first)])],
      ],
    ],
    [
      'attributes for a handle that was guessed',
      [['up', Buffer.concat([opened(1, '/a'), ask(10, 2, (writer) => writer.text('h'))])]],
    ],
    [
      'one handle for two files',
      [
        ['up', Buffer.concat([opened(1, '/a'), opened(2, '/b')])],
        ['down', Buffer.concat([handle(1, 'h'), handle(2, 'h')])],
      ],
    ],
  ])('%s', (_what, steps) => {
    expect(() => watch(steps)).toThrow(/no SFTP that can be put on record/)
  })

  test('more requests than may wait, and more files than may be open', () => {
    const many = Array.from({ length: 9000 }, (_, at) => opened(at, '/a'))
    expect(() => watch([['up', Buffer.concat(many)]])).toThrow(/too many requests/)
    const steps = many.flatMap((open, at): Step[] => [
      ['up', open],
      ['down', handle(at, String(at))],
    ])
    expect(() => watch(steps)).toThrow(/too many open files/)
  })
})
