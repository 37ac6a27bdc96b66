import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { addTarget, eventually, sessions } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

let vaultterm: VaultTerm
let sshd: Sshd
let master: ReturnType<typeof spawn>
let shared: readonly string[]

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  sshd = await Sshd.start()
  await addTarget(vaultterm, sshd)
  const path = join(vaultterm.home, 'shared')
  shared = ['-S', path]
  const config = ['-F', join(vaultterm.home, 'demo/ssh_config')]
  master = spawn('ssh', [...config, '-M', ...shared, '-N', 'acme+real'], { stdio: 'ignore' })
  await eventually(
    async () =>
      (await vaultterm.ssh([...shared, '-O', 'check', 'acme+real'])).code === 0 || undefined,
    'the master',
  )
})
afterAll(async () => {
  master?.kill('SIGKILL')
  await vaultterm?.close()
  await sshd?.close()
})

const run = (...args: string[]) =>
  vaultterm.ssh([...shared, 'acme+real', ...args], undefined, 60_000)

test.each([34_000, 35_000, 60_000, 126_000])('a command of %i bytes runs', async (bytes) => {
  const { stdout, stderr } = await run(`echo ${'x'.repeat(bytes)} | wc -c`)
  expect([stdout.trim(), stderr]).toEqual([String(bytes + 1), ''])
})

test('a command that no server takes fails by itself, with the reason', async () => {
  const signal = join(sshd.directory, 'signal')
  const other = run(`until test -e ${signal}; do sleep 0.1; done; echo the other session survived`)
  await eventually(
    async () => (await sessions(vaultterm)).find(({ live }) => live) && true,
    'the other session',
  )
  // As long as a client that shares its connection can ask for.
  const pieces = [100_000, 100_000, 61_393].map((length) => 'x'.repeat(length))
  const { stderr, code } = await run('true', ...pieces)
  expect(stderr).toContain('the command has 261400 bytes')
  expect(stderr).toContain('ERR_COMMAND_TOO_LONG')
  expect(code).toBe(255)
  writeFileSync(signal, '')
  expect((await other).stdout).toBe('the other session survived\n')
})

test('a command longer than any packet of OpenSSH is told the reason too', async () => {
  const pieces = Array.from({ length: 4 }, () => 'x'.repeat(100_000))
  const { stderr } = await vaultterm.ssh(['acme+real', 'true', ...pieces])
  expect(stderr).toContain('the command has 400')
})

test('a target with a long banner is reached', async () => {
  const banner = join(sshd.directory, 'banner')
  writeFileSync(banner, `${'welcome '.repeat(25_000)}\n`)
  await sshd.down()
  sshd.settings.push(`Banner ${banner}`)
  await sshd.up()
  expect((await vaultterm.ssh(['acme+real', 'echo in'])).stdout).toBe('in\n')
})
