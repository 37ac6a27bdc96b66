import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { keepDemoKey, writeClientFiles } from '../../src/local/demo-client.ts'
import { keepHostKeys } from '../../src/local/index.ts'

let base: string
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'democlient-'))
})
afterEach(() => rmSync(base, { recursive: true }))

/** What OpenSSH's own client makes of the file, from another directory. */
function settings(directory: string, ...args: string[]): { [name: string]: string } {
  const text = execFileSync('ssh', ['-G', '-F', join(directory, 'ssh_config'), ...args], {
    cwd: '/',
    encoding: 'utf8',
  })
  return Object.fromEntries(
    text.split('\n').map((line) => [line.split(' ')[0] ?? '', line.replace(/^\S+ /, '')]),
  )
}

async function write(directory: string): Promise<void> {
  const hostKeys = await keepHostKeys(join(directory, 'keys'))
  await writeClientFiles(directory, 'acme', {
    host: '127.0.0.1',
    port: 2201,
    hostKeys,
    authorities: [],
  })
}

test.each(['demo', 'with space', "o'brien", '100%s', 'a [b] *c?'])(
  'its ssh_config works in a directory called %s',
  async (name) => {
    const directory = join(base, name)
    mkdirSync(directory)
    await keepDemoKey(directory)
    await write(directory)
    for (const host of ['acme', 'acme+web1', 'acme+web2+root']) {
      const found = settings(directory, host)
      expect(found).toMatchObject({ user: host, hostname: '127.0.0.1', port: '2201' })
      expect(found.stricthostkeychecking).toBe('true')
      expect(found.userknownhostsfile).toBe(join(directory, 'known_hosts'))
      expect(found.identityfile?.replaceAll('%%', '%')).toBe(join(directory, 'demo_ed25519'))
    }
  },
)

test('lets a user name on the command line win, and gives strangers none', async () => {
  await write(base)
  expect(settings(base, '-l', 'acme+other', 'acme+web1').user).toBe('acme+other')
  expect(settings(base, 'other+web1').port).toBe('22')
})

test('names the hosts of an earlier start anew', async () => {
  await write(base)
  settings(base, 'acme+web1')
  await write(base)
  expect(settings(base, 'acme+web1').user).toBe('acme+web1')
})

test('makes a key that OpenSSH reads, for its owner alone, and keeps it', async () => {
  const line = await keepDemoKey(base)
  const path = join(base, 'demo_ed25519')
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const read = execFileSync('ssh-keygen', ['-y', '-f', path], { encoding: 'utf8' })
  expect(read.trim()).toBe(line)
  expect(await keepDemoKey(base)).toBe(line)
})

test('makes a pair again of which only the public half was written', async () => {
  await keepDemoKey(base)
  rmSync(join(base, 'demo_ed25519'))
  const line = await keepDemoKey(base)
  const read = execFileSync('ssh-keygen', ['-y', '-f', join(base, 'demo_ed25519')])
  expect(read.toString().trim()).toBe(line)
})

test('refuses a path that ssh cannot read', async () => {
  const directory = join(base, 'a"b')
  mkdirSync(directory)
  writeFileSync(join(directory, 'x'), '')
  await expect(write(directory)).rejects.toMatchObject({ code: 'ERR_HOME_UNUSABLE' })
})
