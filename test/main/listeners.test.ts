import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join, resolve } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { VaultTerm } from '../support/vaultterm.ts'

const settings = [
  'VAULTTERM_PORTAL_LISTEN',
  'VAULTTERM_ADMIN_LISTEN',
  'VAULTTERM_SSH_LISTEN',
] as const
const isRoot = process.getuid?.() === 0
const nobody = 65_534

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close()
})

function make(env: Record<string, string>): VaultTerm {
  const vaultterm = new VaultTerm({ VAULTTERM_LOG: 'silent', ...env })
  open.push(vaultterm)
  return vaultterm
}

/** Another program, from the view of VaultTerm. */
async function occupy(port = 0): Promise<string> {
  const server: Server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  open.push(server)
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

const busy = (address: string, setting: string) =>
  `vaultterm: another program listens on ${address}: stop it, or set ${setting} to another address (port 0 picks a free one) (ERR_LISTEN)\n`

test.each(settings)('up with a busy %s starts nothing, and names the setting', async (setting) => {
  const address = await occupy()
  const vaultterm = make({ [setting]: address })
  const { code, stdout, stderr } = await vaultterm.cli(['up', '--json'])
  expect({ code, stdout, stderr }).toEqual({ code: 1, stdout: '', stderr: busy(address, setting) })
  for (const part of ['postgres', 'redis', 'kek', 'demo']) {
    expect(existsSync(join(vaultterm.home, part)), part).toBe(false)
  }
})

test('serve says so before it asks for its database', async () => {
  const address = await occupy()
  const nowhere = `127.0.0.1:${await freePort()}`
  const vaultterm = make({
    VAULTTERM_SSH_LISTEN: address,
    DATABASE_URL: `postgres://u:p@${nowhere}/d`,
    REDIS_URL: `redis://${nowhere}`,
    VAULTTERM_KEK: 'file:/nonexistent/kek',
    VAULTTERM_RECORDINGS: 'dir:/nonexistent/recordings',
  })
  const { code, stderr } = await vaultterm.cli(['serve'])
  expect([code, stderr]).toEqual([1, busy(address, 'VAULTTERM_SSH_LISTEN')])
})

test('an address of another host, a name without an address, and one port for two listeners', async () => {
  const port = await freePort()
  const wrong: readonly [Record<string, string>, RegExp][] = [
    [
      { VAULTTERM_ADMIN_LISTEN: '192.0.2.1:4100' },
      /^vaultterm: 192\.0\.2\.1:4100 is no address of this host: set VAULTTERM_ADMIN_LISTEN .*\(ERR_LISTEN\)\n$/,
    ],
    [
      { VAULTTERM_SSH_LISTEN: 'nowhere.invalid:2222' },
      /^vaultterm: the host name in nowhere\.invalid:2222 does not resolve: set VAULTTERM_SSH_LISTEN .*\(ERR_LISTEN\)\n$/,
    ],
    [
      {
        VAULTTERM_PORTAL_LISTEN: `127.0.0.1:${port}`,
        VAULTTERM_ADMIN_LISTEN: `127.0.0.1:${port}`,
      },
      /^vaultterm: VAULTTERM_ADMIN_LISTEN is .*, and VAULTTERM_PORTAL_LISTEN has the same port: .*\(ERR_LISTEN\)\n$/,
    ],
  ]
  for (const [env, line] of wrong) {
    const { code, stderr } = await make(env).cli(['up', '--json'])
    expect([code, stderr]).toEqual([1, expect.stringMatching(line)])
  }
})

test.runIf(isRoot)('a plain user learns that a port below 1024 needs a right', () => {
  const script = `
    import { assertListenersFree } from ${JSON.stringify(resolve('src/listener.ts'))}
    process.setgid(${nobody})
    process.setuid(${nobody})
    const at = (port) => ({ host: '127.0.0.1', port })
    await assertListenersFree({ portal: at(1), admin: at(0), ssh: at(0) })
      .catch((err) => console.log(err.code, err.message))`
  const args = ['--input-type=module', '-e', script]
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  expect(stdout, stderr).toMatch(
    /^ERR_LISTEN VaultTerm may not listen on 127\.0\.0\.1:1: ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE; .*VAULTTERM_PORTAL_LISTEN/,
  )
})

test('an address that is taken during the start is named too, and doctor names its setting', async () => {
  const port = await freePort()
  const address = `127.0.0.1:${port}`
  const vaultterm = make({ VAULTTERM_SSH_LISTEN: address, VAULTTERM_LOG: 'info' })
  let taken: Promise<string> | undefined
  // The first line of its log comes after the trial, and long before it listens.
  vaultterm.onStderr = () => {
    taken ??= occupy(port)
  }
  await expect(vaultterm.up()).rejects.toThrow('before it was ready')
  await taken
  expect(vaultterm.stderr).toContain(busy(address, 'VAULTTERM_SSH_LISTEN'))

  const { stdout } = await vaultterm.cli(['doctor', '--json'])
  const findings = JSON.parse(stdout) as { name: string; ok: boolean }[]
  expect(findings.filter(({ name }) => name.endsWith('listener'))).toEqual([
    { name: 'portal listener', ok: true, detail: '127.0.0.1:0 is free' },
    { name: 'admin listener', ok: true, detail: '127.0.0.1:0 is free' },
    {
      name: 'ssh listener',
      ok: false,
      detail: `another program listens on ${address}`,
      fix: 'stop it, or set VAULTTERM_SSH_LISTEN to another address (port 0 picks a free one)',
    },
  ])
})
