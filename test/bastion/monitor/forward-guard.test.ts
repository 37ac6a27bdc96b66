import { spawnSync } from 'node:child_process'
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { hostname, networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ForwardGuard } from '../../../src/bastion/monitor/forward-guard.ts'
import { NameLookups } from '../../../src/bastion/monitor/name-lookups.ts'
import { type FileCalls, OwnFiles } from '../../../src/bastion/monitor/own-files.ts'
import { canonicalHost } from '../../../src/ssh/index.ts'

const guard = new ForwardGuard(() => ({ ports: [4100], directories: ['/var/lib/vaultterm'] }))
const owner = { tenant: 't', user: 'u' }
const here = { peer: '127.0.0.1', owner }
const elsewhere = { peer: '192.0.2.7', owner }
/** Whether a forward is refused, in the spelling that the guard is given. */
const refuses = async (host: string, port: number, place: typeof here) =>
  'refused' in (await guard.judge({ host: canonicalHost(host), port }, place))
const own = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address

const selves = [
  ...['127.0.0.1', '127.1', '0.0.0.0', '0', 'localhost', 'localhost.', '2130706433', '0x7f000001'],
  ...['0177.0.0.1', '::1', '::', '::ffff:127.0.0.1', '::ffff:7f00:1', '0:0:0:0:0:ffff:7f00:0001'],
  ...[
    '127.0.0.53',
    '0x7f.1',
    '017700000001',
    '::127.0.0.1',
    '64:ff9b::127.0.0.1',
    '64:ff9b::7f00:1',
  ],
  ...['64:ff9b:1::7f00:1', '2002:7f00:1::', '::ffff:0:127.0.0.1', '::1%lo', 'LOCALHOST'],
  ...['anything.localhost', 'ip6-localhost'],
]

test.each(selves)(
  'this host’s own port is refused from a target that is this host, as %j',
  async (host) => {
    expect(await refuses(host, 4100, here)).toBe(true)
    // Another port is the target's affair.
    expect(await refuses(host, 4101, here)).toBe(false)
  },
)

test.each(['127.0.0.1', 'localhost', '::1'])('of another host %s is its own', async (host) => {
  expect(await refuses(host, 4100, elsewhere)).toBe(false)
})

test.runIf(own !== undefined)('the address of this host is refused from everywhere', async () => {
  for (const target of [here, elsewhere]) {
    expect(await refuses(own ?? '', 4100, target)).toBe(true)
    expect(await refuses(own ?? '', 80, target)).toBe(false)
  }
})

/** A network of its own, in which the loopback interface has an address that a balancer leads to. */
const balanced = (script: string) =>
  spawnSync(
    'unshare',
    ['-n', 'sh', '-c', `ip link set lo up && ip addr add 10.99.0.1/32 dev lo && ${script}`],
    { encoding: 'utf8' },
  )

test.runIf(balanced('true').status === 0)(
  'attack: an address of this host on its loopback interface is its own as well',
  () => {
    const { stdout, stderr } = balanced(
      `'${process.execPath}' '${join(import.meta.dirname, 'balanced-guard.ts')}'`,
    )
    expect([stdout, stderr]).toEqual(['refused\nrefused\n', ''])
  },
)

test.each([
  '169.254.169.254',
  '2852039166',
  'fe80::1',
  'fe80::1%eth0',
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  '64:ff9b::a9fe:a9fe',
  'metadata.google.internal',
  'metadata.goog',
  'instance-data',
  'fd20:ce::254',
  '168.63.129.16',
  '100.100.100.200',
  '192.0.0.192',
])('nothing leads to %s', async (host) => {
  for (const port of [80, 4100]) expect(await refuses(host, port, elsewhere)).toBe(true)
})

test('a target on this host gets the address that was judged, and not the name', async () => {
  const hosts = new ForwardGuard(() => ({ ports: [4100], directories: [] }))
  // A name that the local resolver knows and that is no address of this host cannot be had here, so the
  // name of this host stands for those that must not pass.
  expect(await hosts.judge({ host: hostname().toLowerCase(), port: 4100 }, here)).toEqual({
    refused: 'own-port',
  })
  // Another port is the target's affair, and so is the name.
  const elsewhere = { host: 'name.invalid', port: 80 }
  expect(await hosts.judge(elsewhere, here)).toEqual(elsewhere)
  // A name without an address could get one a moment later.
  expect(await hosts.judge({ host: 'name.invalid', port: 4100 }, here)).toEqual({
    refused: 'unknown-name',
  })
})

test('attack: a target on this host does not listen in place of a listener of the bastion', () => {
  expect(guard.problemOfListenPort({ port: 4100 }, here)).toBe('own-port')
  expect(guard.problemOfListenPort({ port: 4100 }, { peer: '::ffff:127.0.0.1' })).toBe('own-port')
  expect(guard.problemOfListenPort({ port: 4101 }, here)).toBeUndefined()
  // A listener of ours without a fixed port does not keep targets from picking a port.
  const unfixed = new ForwardGuard(() => ({ ports: [0], directories: [] }))
  expect(unfixed.problemOfListenPort({ port: 0 }, here)).toBeUndefined()
  // Another host has ports of its own.
  expect(guard.problemOfListenPort({ port: 4100 }, elsewhere)).toBeUndefined()
})

describe('a socket of the bastion', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-guard-'))
  const own = join(directory, 'own')
  const other = join(directory, 'other')
  const servers = [join(own, 'socket'), join(other, 'socket')].map((path) => ({
    path,
    server: createServer(),
  }))
  const sockets = new ForwardGuard(() => ({ ports: [], directories: [own] }))
  const judge = (path: string) => sockets.judgePath(path, here)

  beforeAll(async () => {
    mkdirSync(own)
    mkdirSync(other)
    for (const { path, server } of servers) {
      await new Promise<void>((done) => server.listen(path, done))
    }
    symlinkSync(own, join(other, 'link'))
    symlinkSync(join(own, 'socket'), join(other, 'socket-link'))
    linkSync(join(own, 'socket'), join(other, 'hard-link'))
    symlinkSync(join(other, 'circle'), join(other, 'circle'))
  })
  afterAll(() => {
    for (const { server } of servers) server.close()
    rmSync(directory, { recursive: true })
  })

  test.each([
    ['its own path', () => join(own, 'socket')],
    ['a path with dots', () => `${other}/../own/./socket`],
    ['a link to its directory', () => join(other, 'link/socket')],
    ['a link to it', () => join(other, 'socket-link')],
    ['another name of its inode', () => join(other, 'hard-link')],
    ['the root of a process', () => `/proc/self/root${join(own, 'socket')}`],
    ['a path that is not there yet', () => join(other, 'later')],
    ['a relative path', () => 'own/socket'],
  ])('is refused by %s where the target is this host', async (_, path) => {
    expect(await judge(path())).toEqual({
      refused: path().startsWith('/') ? 'closed-path' : 'relative-path',
    })
  })

  test('is no affair of a target on another host', async () => {
    const path = join(own, 'socket')
    expect(await sockets.judgePath(path, elsewhere)).toEqual({ path })
  })

  test('does not keep a forward from another socket, which is opened by its real path', async () => {
    expect(await judge(`${other}//./socket`)).toEqual({ path: join(other, 'socket') })
  })

  test('is not replaced by a listener of a target on this host', async () => {
    const at = (path: string) => sockets.problemOfListenPath(path, here)
    const paths = [join(own, 'socket'), join(other, 'link/new'), join(other, 'new')]
    expect(await Promise.all(paths.map(at))).toEqual(['closed-path', 'closed-path', undefined])
  })

  test.each([
    ['a circle of links', () => join(other, 'circle', 'new')],
    ['a name that is too long', () => join(other, 'x'.repeat(300), 'new')],
    ['a path that is too long', () => `/${'x/'.repeat(2500)}new`],
    ['a NUL', () => join(other, 'a\0b', 'new')],
    ['a directory that is not there', () => join(other, 'later', 'new')],
  ])('attack: %s is refused, and throws nothing', async (_, path) => {
    expect(await sockets.problemOfListenPath(path(), here)).toBe('closed-path')
    expect(await judge(path())).toEqual({ refused: 'closed-path' })
  })

  test.each(['ENOENT', 'EACCES', 'ELOOP', 'EIO'])(
    'attack: a directory that fails with %s while it is judged is refused, and throws nothing',
    async (code) => {
      const failing: FileCalls = {
        realpath: async (path) => path,
        stat: () => Promise.reject(Object.assign(new Error(code), { code })),
        socketsIn: async () => [],
      }
      const guard = guardOf(own, failing)
      expect(await guard.problemOfListenPath(join(other, 'new'), here)).toBe('closed-path')
      expect(await guard.judgePath(join(other, 'new'), here)).toEqual({ refused: 'closed-path' })
    },
  )

  test('attack: a tenant’s paths on a storage that does not answer hold up no other tenant', async () => {
    const asked: string[] = []
    const hanging: FileCalls = {
      realpath: (path) => {
        asked.push(path)
        return path.startsWith('/hung') ? new Promise(() => {}) : realpath(path)
      },
      stat,
      socketsIn: async () => [],
    }
    const guard = guardOf(own, hanging)
    const hung = Array.from({ length: 20 }, (_, at) => guard.judgePath(`/hung/${at}`, here))
    const polite = { ...here, owner: { tenant: 'polite', user: 'u' } }
    expect(await guard.judgePath(join(other, 'socket'), polite)).toEqual({
      path: join(other, 'socket'),
    })
    // Not one thread more than the tenant may have waits for the storage, also after the requests were refused.
    expect(await Promise.all(hung)).toEqual(hung.map(() => ({ refused: 'closed-path' })))
    expect(asked.filter((path) => path.startsWith('/hung'))).toHaveLength(2)
  })
})

function guardOf(own: string, calls: FileCalls): ForwardGuard {
  const places = () => ({ ports: [], directories: [own] })
  return new ForwardGuard(places, new NameLookups(), new OwnFiles(() => [own], calls))
}
