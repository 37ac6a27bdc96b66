import { networkInterfaces } from 'node:os'
import { expect, test } from 'vitest'
import { ForwardGuard } from '../../../src/bastion/monitor/forward-guard.ts'

const guard = new ForwardGuard(() => ({ ports: [4100], directories: ['/var/lib/vaultterm'] }))
const here = { host: '127.0.0.1' }
const elsewhere = { host: '192.0.2.7' }
const own = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .find(({ internal, family }) => !internal && family === 'IPv4')?.address

const selves = [
  ...['127.0.0.1', '127.1', '0.0.0.0', '0', 'localhost', 'localhost.', '2130706433', '0x7f000001'],
  ...['0177.0.0.1', '::1', '::', '::ffff:127.0.0.1', '', '*'],
]

test.each(selves)(
  'this host’s own port is refused from a target that is this host, as %j',
  async (host) => {
    expect(await guard.refuses({ host, port: 4100 }, here)).toBe(true)
    // Another port is the target's affair.
    expect(await guard.refuses({ host, port: 4101 }, here)).toBe(false)
  },
)

test.each(['127.0.0.1', 'localhost', '::1'])('of another host %s is its own', async (host) => {
  expect(await guard.refuses({ host, port: 4100 }, elsewhere)).toBe(false)
})

test.runIf(own !== undefined)('the address of this host is refused from everywhere', async () => {
  for (const target of [here, elsewhere]) {
    expect(await guard.refuses({ host: own ?? '', port: 4100 }, target)).toBe(true)
    expect(await guard.refuses({ host: own ?? '', port: 80 }, target)).toBe(false)
  }
})

test.each(['169.254.169.254', '2852039166', 'fe80::1', 'fe80::1%eth0', '::ffff:169.254.169.254'])(
  'nothing leads to %s',
  async (host) => {
    for (const port of [80, 4100]) expect(await guard.refuses({ host, port }, elsewhere)).toBe(true)
  },
)

test('paths of ours are refused where they are ours', async () => {
  for (const path of [
    '/var/lib/vaultterm',
    '/var/lib/vaultterm/kek',
    '/var/lib/x/../vaultterm/kek',
    '//var//lib/vaultterm/',
  ]) {
    expect(await guard.refusesPath(path, here)).toBe(true)
    expect(await guard.refusesPath(path, elsewhere)).toBe(false)
  }
  expect(await guard.refusesPath('/var/lib/vaultterm2/kek', here)).toBe(false)
})
