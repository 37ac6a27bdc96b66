import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { events } from '../support/installation.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** OpenSSH's own security key in software, from Debian's package of its tests. */
const provider = '/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so'

let vaultterm: VaultTerm
let directory: string

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  directory = join(vaultterm.home, 'security-keys')
  mkdirSync(directory)
})
afterAll(() => vaultterm?.close())

function makeKey(name: string, type: string, ...options: string[]): string {
  const file = join(directory, name)
  execFileSync(
    'ssh-keygen',
    [
      '-q',
      '-t',
      type,
      ...options.flatMap((one) => ['-O', one]),
      '-w',
      provider,
      '-N',
      '',
      '-f',
      file,
    ],
    { input: '' },
  )
  return file
}

function login(key: string, ...options: string[]) {
  return vaultterm.ssh(
    [
      ...['-F', 'none', '-i', key, '-o', `SecurityKeyProvider=${provider}`, ...options],
      ...['-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=no', '-o', 'LogLevel=ERROR'],
      ...['-o', 'UserKnownHostsFile=/dev/null', '-p', vaultterm.sshPort, '-l', 'acme'],
      ...['127.0.0.1', 'echo in'],
    ],
    '',
  )
}

describe.each(['ed25519-sk', 'ecdsa-sk'])('a key of type %s', (type) => {
  test('logs in when it is registered, and its counter is on the log', async () => {
    const key = makeKey(type, type)
    expect((await login(key)).code).toBe(255)
    await vaultterm.json('key', 'add', 'acme', 'demo', `${key}.pub`)
    expect(await login(key)).toMatchObject({ stdout: 'in\n', code: 0 })
    const success = (await events(vaultterm)).findLast(
      ({ type: what, public: values }) => what === 'login.success' && values.counter !== undefined,
    )
    expect(success?.public).toMatchObject({ counter: String(0x12345678) })
  })

  test('does not log in when nobody touches it', async () => {
    const key = makeKey(`${type}-untouched`, type, 'no-touch-required')
    await vaultterm.json('key', 'add', 'acme', 'demo', `${key}.pub`)
    expect((await login(key)).code).toBe(255)
  })

  test('that must know its holder logs in with a PIN only', async () => {
    const without = makeKey(`${type}-touch`, type)
    await vaultterm.json('key', 'add', 'acme', 'demo', `${without}.pub`, '--verify-required')
    expect((await login(without)).code).toBe(255)
    const key = makeKey(`${type}-verified`, type, 'verify-required')
    await vaultterm.json('key', 'add', 'acme', 'demo', `${key}.pub`, '--verify-required')
    const asker = join(directory, 'ask')
    writeFileSync(asker, '#!/bin/sh\necho 1234\n', { mode: 0o755 })
    process.env.SSH_ASKPASS = asker
    process.env.SSH_ASKPASS_REQUIRE = 'force'
    try {
      const second = new VaultTerm({}, vaultterm.home)
      second.ready = vaultterm.ready
      const done = await second.ssh([
        ...['-F', 'none', '-i', key, '-o', `SecurityKeyProvider=${provider}`],
        ...['-o', 'IdentitiesOnly=yes', '-o', 'StrictHostKeyChecking=no', '-o', 'LogLevel=ERROR'],
        ...['-o', 'UserKnownHostsFile=/dev/null', '-p', vaultterm.sshPort, '-l', 'acme'],
        ...['127.0.0.1', 'echo in'],
      ])
      expect(done).toMatchObject({ stdout: 'in\n', code: 0 })
    } finally {
      delete process.env.SSH_ASKPASS
      delete process.env.SSH_ASKPASS_REQUIRE
    }
  })

  test('logs in with a certificate, and no other way', async () => {
    const key = makeKey(`${type}-certified`, type)
    const done = await vaultterm.cli([
      ...['ca', 'issue', 'acme', '--user', 'demo', '--key', `${key}.pub`],
    ])
    expect((await login(key)).code).toBe(255)
    writeFileSync(`${key}-cert.pub`, done.stdout)
    expect(readFileSync(`${key}-cert.pub`, 'utf8')).toContain('sk-')
    expect(await login(key)).toMatchObject({ stdout: 'in\n', code: 0 })
  })
})
