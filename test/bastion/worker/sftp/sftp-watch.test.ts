import { createHash, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { FileOperation } from '../../../../src/bastion/wire/calls.ts'
import { SftpWatch } from '../../../../src/bastion/worker/sftp/sftp-watch.ts'
import {
  close,
  data,
  extended,
  handle,
  init,
  message,
  names,
  open,
  read,
  remove,
  status,
  version,
  write,
} from './sftp-packets.ts'

type Step = readonly ['up' | 'down', Buffer]
type Told = Omit<FileOperation, 'number' | 'path' | 'to'> & { path?: string; to?: string }

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

/** The events of a conversation that comes in pieces of so many bytes. */
function see(steps: readonly Step[], pieceBytes = 1 << 20) {
  const asked: FileOperation[] = []
  const done: FileOperation[] = []
  const watched = new SftpWatch({
    asked: (operation) => void asked.push(operation),
    done: (operation) => void done.push(operation),
  })
  let failure: unknown
  try {
    for (const [way, bytes] of steps) {
      for (let at = 0; at < bytes.length; at += pieceBytes) {
        const piece = Buffer.from(bytes.subarray(at, at + pieceBytes))
        watched[way](piece)
        // As the connection does with its memory.
        piece.fill(0xee)
      }
    }
  } catch (err) {
    failure = err
  }
  watched.end()
  return { asked, done, failure }
}

function watch(steps: readonly Step[], pieceBytes?: number): Told[] {
  const { done, failure } = see(steps, pieceBytes)
  if (failure !== undefined) throw failure
  return done.map(({ number: _number, path, to, ...rest }) => ({
    ...rest,
    ...(path && { path: path.toString() }),
    ...(to && { to: to.toString() }),
  }))
}

const bytes = randomBytes(100_000)
const [first, second] = [bytes.subarray(0, 60_000), bytes.subarray(60_000)]
const start: Step[] = [
  ['up', init()],
  ['down', version()],
]
const openA: Step[] = [
  ['up', open(1, '/a', 3)],
  ['down', handle(1, 'h')],
]
const both: Step[] = [
  ...start,
  ['up', open(1, '/etc/motd')],
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
  ['up', open(6, '/srv/new', 0x1a)],
  ['down', handle(6, 'h1')],
  ['up', Buffer.concat([write(7, 'h1', 0, first), write(8, 'h1', 60_000, second)])],
  ['down', Buffer.concat([status(7), status(8)])],
  ['up', close(9, 'h1')],
  ['down', status(9)],
  ['up', message(18, 10, (writer) => writer.text('/srv/new').text('/srv/old'))],
  ['down', status(10, 4)],
  ['up', extended(11, 'posix-rename@openssh.com', (writer) => writer.text('/a').text('/b'))],
  ['down', status(11)],
  ['up', remove(12, '/b')],
  ['down', status(12)],
  ['up', message(17, 13, (writer) => writer.text('/b'))],
  ['down', status(13, 2)],
]
const lookBytes = message(17, 13, (writer) => writer.text('/b')).length + status(13).length - 8
const expected: Told[] = [
  { op: 'open', path: '/etc/motd', flags: ['read'], code: 0, state: 'open' },
  { op: 'read', path: '/etc/motd', bytes: 100_000, sha256: sha256(bytes), code: 0 },
  { op: 'open', path: '/srv/new', flags: ['write', 'creat', 'trunc'], code: 0, state: 'open' },
  { op: 'write', path: '/srv/new', bytes: 100_000, sha256: sha256(bytes), code: 0 },
  { op: 'rename', path: '/srv/new', to: '/srv/old', code: 4 },
  { op: 'rename', path: '/a', to: '/b', extension: 'posix-rename@openssh.com', code: 0 },
  { op: 'remove', path: '/b', code: 0 },
  { op: 'lookup', count: 1, bytes: lookBytes },
]

test.each([1 << 20, 32_768, 1000, 17, 3, 1])(
  'tells the same in pieces of %i bytes',
  (pieceBytes) => {
    expect(watch(both, pieceBytes)).toEqual(expected)
  },
)

test('tells what a client asks for before the target has answered', () => {
  const { asked, done } = see([...start, ['up', Buffer.concat([open(1, '/a'), remove(2, '/b')])]])
  expect(asked.map(({ op, number, path }) => `${number} ${op} ${path}`)).toEqual([
    '0 open /a',
    '1 remove /b',
  ])
  // The target may have done it, and the session ended before it said so.
  expect(done).toEqual(asked.map((operation) => ({ ...operation, state: 'interrupted' })))
})

test('everything that goes through one handle has the number of its open', () => {
  const { done } = see([
    ...start,
    ...openA,
    ['up', Buffer.concat([write(2, 'h', 0, first), message(10, 3, (w) => w.text('h').u32(0))])],
    ['down', Buffer.concat([status(2), status(3)])],
    ['up', close(4, 'h')],
    ['down', status(4)],
  ])
  expect(done.map(({ op, number }) => `${op} ${number}`)).toEqual([
    'open 0',
    'setstat 1',
    'write 0',
  ])
})

test('attack: a file that is cut, and a program that is made to run as root, are told as that', () => {
  const set = (id: number) =>
    message(9, id, (w) => w.text('/a').u32(0xd).u64(0n).u32(0o104755).u32(1).u32(2))
  const owner = (id: number) => message(10, id, (w) => w.text('h').u32(2).u32(0).u32(0))
  const make = (id: number) => message(14, id, (w) => w.text('/d').u32(4).u32(0o777))
  const { done } = see([
    ...start,
    ...openA,
    ['up', Buffer.concat([set(2), owner(3), make(4)])],
    ['down', Buffer.concat([status(2), status(3), status(4)])],
  ])
  const told = done.filter(({ attributes }) => attributes !== undefined)
  expect(told.map(({ op, path, attributes }) => `${op} ${path} ${attributes?.join(' ')}`)).toEqual([
    'setstat /a size=0 mode=104755 atime=1 mtime=2',
    'setstat /a uid=0 gid=0',
    'mkdir /d mode=777',
  ])
})

test('a transfer with a gap has no hash, and one that was refused neither', () => {
  const gap: Step[] = [
    ...start,
    ...openA,
    ['up', write(2, 'h', 5, first)],
    ['down', status(2)],
    ['up', close(3, 'h')],
    ['down', status(3)],
    ['up', open(4, '/b')],
    ['down', handle(4, 'h')],
    ['up', write(5, 'h', 0, first)],
    ['down', status(5, 4)],
    ['up', close(6, 'h')],
    ['down', status(6)],
  ]
  expect(watch(gap).filter(({ op }) => op !== 'open')).toEqual([
    { op: 'write', path: '/a', bytes: 60_000, code: 0 },
    { op: 'write', path: '/b', bytes: 60_000, code: 0 },
  ])
})

test('tells what was not closed, and what could not be opened', () => {
  expect(
    watch([
      ...start,
      ['up', Buffer.concat([open(1, '/a', 2), open(2, '/secret')])],
      ['down', Buffer.concat([handle(1, 'h'), status(2, 3)])],
      ['up', write(3, 'h', 0, first)],
    ]),
  ).toEqual([
    { op: 'open', path: '/a', flags: ['write'], code: 0, state: 'open' },
    { op: 'open', path: '/secret', flags: ['read'], code: 3 },
    // The target has not said whether it wrote it.
    { op: 'write', path: '/a', bytes: 60_000, state: 'interrupted' },
  ])
})

test('attack: data that are cut off in their middle make no digest of a file that never was', () => {
  const opening: Step[] = [...start, ...openA, ['up', write(2, 'h', 0, first)], ['down', status(2)]]
  const cut = write(3, 'h', 60_000, second).subarray(0, -1)
  const left = { op: 'write', path: '/a', state: 'interrupted' } as const
  expect(watch([...opening, ['up', cut]])).toContainEqual({ ...left, bytes: 99_999 })
  // Control: without it, what is there is known.
  expect(watch(opening)).toContainEqual({ ...left, bytes: 60_000, sha256: sha256(first) })
  const answer = data(5, second).subarray(0, -1)
  const readCut: Step[] = [...opening, ['up', read(5, 'h', 0, 60_000)], ['down', answer]]
  expect(watch(readCut)).toContainEqual({
    op: 'read',
    path: '/a',
    bytes: 39_999,
    state: 'interrupted',
  })
})

test('takes read-ahead that comes behind a close, and gets nothing', () => {
  const told = watch([
    ...start,
    ['up', open(1, '/a')],
    ['down', handle(1, 'h')],
    ['up', Buffer.concat([read(2, 'h', 0, 10), close(3, 'h'), read(4, 'h', 10, 10)])],
    ['down', Buffer.concat([data(2, Buffer.from('ten bytes!')), status(3), status(4, 4)])],
  ])
  expect(told.at(-1)).toEqual({
    op: 'read',
    path: '/a',
    bytes: 10,
    sha256: sha256(Buffer.from('ten bytes!')),
    code: 0,
  })
})

test('tells every flag of an open', () => {
  const told = watch([...start, ['up', open(1, '/a', 0x1_3f)], ['down', status(1, 4)]])
  expect(told[0]?.flags).toEqual(['read', 'write', 'append', 'creat', 'trunc', 'excl', 'other'])
})

test('tells a listing with the bytes of its names', () => {
  const listing = names(2, '.', '..', 'file')
  const told = watch([
    ...start,
    ['up', message(11, 1, (writer) => writer.text('/d'))],
    ['down', handle(1, 'h')],
    ['up', message(12, 2, (writer) => writer.text('h'))],
    ['down', listing],
    ['up', close(3, 'h')],
    ['down', status(3)],
  ])
  expect(told).toEqual([
    { op: 'list', path: '/d', code: 0, state: 'open' },
    { op: 'close', path: '/d', bytes: listing.length - 4, code: 0 },
  ])
})

describe('tells every extended request by its name', () => {
  const numbers = (count: number) => (id: number) =>
    message(201, id, (writer) => writer.bytes(Buffer.alloc(8 * count)))
  const payload = Buffer.from('/bin/sh -c id')
  test.each<[string, Buffer, (id: number) => Buffer, object]>([
    [
      'hardlink@openssh.com',
      Buffer.concat([text('/a'), text('/b')]),
      status,
      { op: 'hardlink', path: '/a', to: '/b' },
    ],
    [
      'lsetstat@openssh.com',
      Buffer.concat([text('/a'), u32(0)]),
      status,
      { op: 'setstat', path: '/a' },
    ],
    ['fsync@openssh.com', text('h'), status, { op: 'fsync', path: '/a' }],
    ['statvfs@openssh.com', text('/a'), numbers(11), { op: 'extended', path: '/a' }],
    ['fstatvfs@openssh.com', text('h'), numbers(11), { op: 'extended', path: '/a' }],
    ['limits@openssh.com', Buffer.alloc(0), numbers(4), { op: 'extended' }],
    [
      'expand-path@openssh.com',
      text('~/x'),
      (id) => names(id, '/home/x'),
      { op: 'realpath', path: '~/x', to: '/home/x' },
    ],
    [
      'home-directory',
      text('bob'),
      (id) => names(id, '/home/bob'),
      { op: 'realpath', path: 'bob', to: '/home/bob' },
    ],
    [
      'users-groups-by-id@openssh.com',
      Buffer.concat([text(''), text('')]),
      (id) => message(201, id, (writer) => writer.text('').text('')),
      { op: 'extended', bytes: 8, sha256: sha256(Buffer.alloc(8)) },
    ],
    [
      'copy-data',
      Buffer.concat([text('h'), Buffer.alloc(16), text('h2'), Buffer.alloc(8)]),
      status,
      { op: 'copy', path: '/a', to: '/b' },
    ],
    [
      'run@example.org',
      payload,
      (id) => message(201, id, (writer) => writer.text('uid=0')),
      {
        op: 'extended',
        bytes: payload.length,
        sha256: sha256(payload),
        replyBytes: 9,
        replySha256: sha256(text('uid=0')),
      },
    ],
    [
      'run2@example.org',
      payload,
      status,
      { op: 'extended', bytes: payload.length, sha256: sha256(payload) },
    ],
  ])('%s', (extension, bytesOfIt, answer, expectedOperation) => {
    const told = watch([
      ...start,
      ...openA,
      ['up', open(8, '/b', 2)],
      ['down', handle(8, 'h2')],
      ['up', extended(9, extension, (writer) => writer.bytes(bytesOfIt))],
      ['down', answer(9)],
    ])
    expect(told).toContainEqual({ extension, ...expectedOperation, code: 0 })
  })
})

function text(value: string): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(value)), Buffer.from(value)])
}

function u32(value: number): Buffer {
  const four = Buffer.alloc(4)
  four.writeUInt32BE(value)
  return four
}

const dir: Step[] = [
  ['up', message(11, 1, (writer) => writer.text('/d'))],
  ['down', handle(1, 'h')],
]
const realpath = (id: number, path: string) => message(16, id, (writer) => writer.text(path))

describe('attack: CH-19: bytes that cannot be watched are not let through', () => {
  test.each<[string, Step[], RegExp?]>([
    ['a packet of 4 GiB', [['up', Buffer.from('ffffffff05', 'hex')]]],
    ['a packet of nothing', [['up', Buffer.alloc(4)]]],
    ['a packet of 300 KiB', [['up', Buffer.from('0004b00006', 'hex')]]],
    ['a request before the start', [['up', remove(1, '/a')]], /before the start/],
    [
      'an answer before the start',
      [
        ['up', init()],
        ['down', status(1)],
      ],
      /before the start/,
    ],
    ['a VERSION before INIT', [['down', version()]], /was not asked for/],
    ['a second VERSION', [...start, ['down', version()]], /was not asked for/],
    ['a second start', [['up', Buffer.concat([init(), init()])]], /second start/],
    ['an old client', [['up', init(2)]], /version 2/],
    [
      'a later version of the server',
      [
        ['up', init()],
        ['down', version(6)],
      ],
      /version 6/,
    ],
    [
      'another version by an extension',
      [...start, ['up', extended(1, 'version-select', (w) => w.text('6'))]],
      /version other than 3/,
    ],
    ['an unknown request', [...start, ['up', message(99, 1)]]],
    ['a request of version 6', [...start, ['up', message(21, 1)]]],
    ['an unknown answer', [...start, ...openA, ['up', remove(2, '/a')], ['down', message(150, 2)]]],
    ['an answer without a request', [...start, ['down', status(7)]], /an answer without a request/],
    [
      'two answers to one',
      [...start, ['up', open(1, '/a')], ['down', Buffer.concat([status(1, 2), status(1, 2)])]],
    ],
    ['one id for two', [...start, ['up', Buffer.concat([open(1, '/a'), open(1, '/b')])]]],
    [
      'a handle for no open',
      [...start, ['up', remove(1, '/a')], ['down', handle(1, 'h')]],
      /HANDLE/,
    ],
    [
      'an open that succeeds without a handle',
      [...start, ['up', open(1, '/a')], ['down', status(1)]],
    ],
    ['data for no read', [...start, ['up', open(1, '/a')], ['down', data(1, first)]], /DATA/],
    [
      'more data than was asked for',
      [...start, ...openA, ['up', read(2, 'h', 0, 10)], ['down', data(2, Buffer.alloc(11))]],
      /more data/,
    ],
    [
      'data that does not fill its packet',
      [
        ...start,
        ...openA,
        ['up', read(2, 'h', 0, 10)],
        ['down', message(103, 2, (w) => w.text('a').text('more'))],
      ],
      /does not fill/,
    ],
    [
      'a write that does not fill its packet',
      [
        ...start,
        ...openA,
        ['up', message(6, 2, (w) => w.text('h').u64(0n).text('a').text('more'))],
      ],
      /does not fill/,
    ],
    [
      'data of a directory',
      [...start, ...dir, ['up', read(2, 'h', 0, 10)], ['down', data(2, Buffer.alloc(1))]],
    ],
    [
      'names for a stat',
      [...start, ['up', message(17, 1, (w) => w.text('/a'))], ['down', names(1, 'uid=0(root)')]],
      /NAME/,
    ],
    [
      'two names for one',
      [...start, ['up', realpath(1, '/a')], ['down', names(1, '/a', 'uid=0(root)')]],
      /names than/,
    ],
    ['no name for one', [...start, ['up', realpath(1, '/a')], ['down', names(1)]], /names than/],
    [
      'a name of 5000 bytes',
      [...start, ['up', realpath(1, '/a')], ['down', names(1, 'x'.repeat(5000))]],
      /path of 5000/,
    ],
    ['a path of 5000 bytes', [...start, ['up', realpath(1, 'x'.repeat(5000))]], /path of 5000/],
    ['a path with a NUL byte', [...start, ['up', remove(1, '/a\0/b')]], /NUL/],
    [
      'attributes for a remove',
      [...start, ['up', remove(1, '/a')], ['down', message(105, 1, (w) => w.u32(0))]],
      /ATTRS/,
    ],
    [
      'attributes with more behind them',
      [
        ...start,
        ['up', message(17, 1, (w) => w.text('/a'))],
        ['down', message(105, 1, (w) => w.u32(0).text('id'))],
      ],
    ],
    [
      'attributes of a later version',
      [
        ...start,
        ['up', message(17, 1, (w) => w.text('/a'))],
        ['down', message(105, 1, (w) => w.u32(0x200))],
      ],
    ],
    [
      'a status with a message of 2000 bytes',
      [...start, ['up', remove(1, '/a')], ['down', status(1, 4, 'x'.repeat(2000))]],
    ],
    [
      'a status with more behind it',
      [
        ...start,
        ['up', remove(1, '/a')],
        ['down', message(101, 1, (w) => w.u32(0).text('').text('').text('id'))],
      ],
    ],
    [
      'an extended reply to a rename',
      [
        ...start,
        ['up', extended(1, 'posix-rename@openssh.com', (w) => w.text('/a').text('/b'))],
        ['down', message(201, 1)],
      ],
      /EXTENDED/,
    ],
    [
      'limits with more behind them',
      [
        ...start,
        ['up', extended(1, 'limits@openssh.com')],
        ['down', message(201, 1, (w) => w.bytes(Buffer.alloc(40)))],
      ],
    ],
    [
      'a request with more behind it',
      [...start, ['up', message(13, 1, (w) => w.text('/a').text('id'))]],
    ],
    [
      'an extension without a printable name',
      [...start, ['up', extended(1, 'a\x1b[2J')]],
      /printable/,
    ],
    [
      'a path that is longer than its packet',
      [...start, ['up', message(13, 1, (w) => w.u32(0xffff_ffff))]],
    ],
    ['a handle that is too long', [...start, ['up', close(1, 'x'.repeat(300))]]],
    [
      'a write to a handle that was guessed',
      [...start, ['up', Buffer.concat([open(1, '/a'), write(2, 'h', 0, first), close(3, 'h')])]],
    ],
    [
      'a close of a handle that was guessed, which would make a decoy of its file',
      [
        ...start,
        ['up', Buffer.concat([open(1, '/decoy'), close(2, 'h')])],
        ['down', Buffer.concat([handle(1, 'h'), status(2)])],
        ['up', Buffer.concat([open(3, '/b'), write(4, 'h', 0, first), close(5, 'h')])],
      ],
    ],
    [
      'a write to a handle that is being closed',
      [
        ...start,
        ...openA,
        ['up', Buffer.concat([close(2, 'h'), open(3, '/b'), write(4, 'h', 0, first)])],
      ],
    ],
    [
      'data of a file whose close was answered first, whose end is told',
      [
        ...start,
        ...openA,
        ['up', Buffer.concat([read(2, 'h', 0, 60_000), close(3, 'h')])],
        ['down', Buffer.concat([status(3), data(2, first)])],
      ],
    ],
    [
      'a list of a directory whose close was answered first',
      [
        ...start,
        ['up', message(11, 1, (writer) => writer.text('/d'))],
        ['down', handle(1, 'h')],
        ['up', Buffer.concat([message(12, 2, (w) => w.text('h')), close(3, 'h')])],
        ['down', Buffer.concat([status(3), names(2, '.', '..', 'file')])],
      ],
    ],
    [
      'data for a handle that was guessed',
      [
        ...start,
        ['up', Buffer.concat([open(1, '/a'), read(2, 'h', 0, 60_000)])],
        ['down', Buffer.concat([handle(1, 'h'), data(2, first)])],
      ],
    ],
    [
      'a sync of a handle that was guessed',
      [...start, ['up', extended(2, 'fsync@openssh.com', (w) => w.text('h'))]],
    ],
    [
      'attributes for a handle that was guessed',
      [...start, ['up', Buffer.concat([open(1, '/a'), message(10, 2, (w) => w.text('h').u32(0))])]],
    ],
    [
      'one handle for two files',
      [
        ...start,
        ['up', Buffer.concat([open(1, '/a'), open(2, '/b')])],
        ['down', Buffer.concat([handle(1, 'h'), handle(2, 'h')])],
      ],
    ],
  ])('%s', (_what, steps, cause = /./) => {
    expect(() => watch(steps)).toThrow(/not SFTP that VaultTerm can record/)
    expect(() => watch(steps)).toThrow(cause)
  })

  test('an answer that cannot be read leaves its request on record', () => {
    const { done, failure } = see([...start, ['up', remove(1, '/a')], ['down', handle(1, 'h')]])
    expect(failure).toBeDefined()
    expect(done).toMatchObject([{ op: 'remove', path: Buffer.from('/a'), state: 'interrupted' }])
  })

  test('more files than may be open', () => {
    const steps = Array.from({ length: 9000 }, (_, at): Step[] => [
      ['up', open(at, '/a')],
      ['down', handle(at, String(at))],
    ]).flat()
    expect(() => watch([...start, ...steps])).toThrow(/too many open files/)
  })
})

test('a target without messages in its statuses is understood', () => {
  const steps: Step[] = [
    ...start,
    ['up', remove(1, '/a')],
    ['down', message(101, 1, (writer) => writer.u32(0))],
  ]
  expect(watch(steps)).toEqual([{ op: 'remove', path: '/a', code: 0 }])
})
