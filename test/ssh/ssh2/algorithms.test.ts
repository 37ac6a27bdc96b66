import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { keepHostKeys } from '../../../src/local/index.ts'
import { isInstalled } from '../../support/debian.ts'
import { runProgram } from '../../support/program.ts'
import { Authority } from '../../support/ssh-authority.ts'
import { echoSessions, type Listener, listenForClients } from '../../support/ssh-listener.ts'

const directory = mkdtempSync(join(tmpdir(), 'vaultterm-algorithms-'))
const keys = new Authority()
const user = keys.newKey('ed25519')
const usual = ['-F', 'none', '-i', user.file, '-o', 'StrictHostKeyChecking=no']
let listener: Listener

beforeAll(async () => {
  const hostKeys = [...(await keepHostKeys(directory)), keys.newKey('rsa', '3072')]
  listener = await listenForClients(echoSessions, { hostKeys })
})
afterAll(async () => {
  await listener.close()
  keys.remove()
  rmSync(directory, { recursive: true })
})

/**
 * What ssh-audit says of an offer of ours that is no fault of the offer: old versions do not know the
 * new names, and new ones would have no client that cannot do post-quantum key exchange.
 */
const excused = [
  /^\(kex\) (mlkem768x25519-sha256|kex-strict-s-v00@openssh\.com) +-- \[warn\] unknown algorithm$/,
  /^\(kex\) curve25519-sha256\S* +-- \[warn\] does not provide protection against post-quantum/,
]

/** The lines in which ssh-audit finds fault. */
async function audit(port: number): Promise<{ found: string[]; said: string }> {
  const { stdout } = await runProgram('ssh-audit', ['-n', '-p', String(port), '127.0.0.1'])
  const said = stdout.toString()
  const found = said.split('\n').filter((line) => /\[(warn|fail)\]/.test(line))
  return { found: found.filter((line) => !excused.some((one) => one.test(line))), said }
}

describe.runIf(isInstalled('ssh-audit'))('ssh-audit', () => {
  test('finds nothing to fail and nothing to warn of', async () => {
    const { found, said } = await audit(listener.port)
    // It has seen all of it: no line, no fault.
    for (const name of [
      '(kex) curve25519-sha256 ',
      '(key) ssh-ed25519 ',
      '(key) rsa-sha2-512 (3072-bit)',
      '(enc) aes128-gcm@openssh.com ',
      '(mac) hmac-sha2-256-etm@openssh.com ',
    ])
      expect(said).toContain(name)
    expect(found).toEqual([])
  })

  test('finds fault with a host key on a curve of NIST (control)', async () => {
    const weak = await listenForClients(undefined, { hostKeys: [keys.newKey('ecdsa')] })
    try {
      const fault = expect.stringContaining('[fail] using')
      expect((await audit(weak.port)).found).toContainEqual(fault)
    } finally {
      await weak.close()
    }
  })
})

/** What the clients of Debian 12 know of what there is; OpenSSH's own know all of it. */
const clients: readonly [name: string, options: Record<string, string>][] = [
  ['OpenSSH 9.2', {}],
  [
    'libssh 0.10',
    {
      KexAlgorithms: 'curve25519-sha256,ecdh-sha2-nistp256,diffie-hellman-group16-sha512',
      Ciphers: 'chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes256-ctr',
      MACs: 'hmac-sha2-256-etm@openssh.com,hmac-sha2-256',
    },
  ],
  [
    'paramiko 2.12',
    {
      KexAlgorithms: 'curve25519-sha256@libssh.org,ecdh-sha2-nistp256',
      Ciphers: 'aes128-ctr,aes192-ctr,aes256-ctr',
      MACs: 'hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com',
    },
  ],
  ['a client that knows RSA host keys only', { HostKeyAlgorithms: 'rsa-sha2-512,rsa-sha2-256' }],
]

describe('lets in', () => {
  const input = Buffer.from('well\n')

  test.each(clients)('%s', async (_, options) => {
    const file = join(directory, 'known_hosts')
    rmSync(file, { force: true })
    const settings = Object.entries({ ...options, UserKnownHostsFile: file })
    const { stdout, stderr, code } = await runProgram(
      'ssh',
      [
        ...usual,
        ...settings.flatMap(([name, value]) => ['-o', `${name}=${value}`]),
        ...['-p', String(listener.port), 'somebody@127.0.0.1', 'echo'],
      ],
      { input },
    )
    expect({ stdout: stdout.toString(), code }, stderr).toEqual({ stdout: 'well\n', code: 0 })
  })

  test('PuTTY', async () => {
    const ppk = join(directory, 'user.ppk')
    const made = await runProgram('puttygen', [user.file, '-o', ppk])
    expect(made.code, made.stderr).toBe(0)
    const { publicKey } = (await keepHostKeys(directory))[0] ?? expect.fail('no key')
    const { stdout, stderr } = await runProgram(
      'plink',
      [
        ...['-batch', '-ssh', '-i', ppk, '-P', String(listener.port)],
        ...['-hostkey', publicKey.fingerprint, 'somebody@127.0.0.1', 'echo'],
      ],
      { input },
    )
    expect(stdout.toString(), stderr).toBe('well\n')
  })

  test('Dropbear', async () => {
    const file = join(directory, 'dropbear')
    const made = await runProgram('dropbearkey', ['-t', 'ed25519', '-f', file])
    expect(made.code, made.stderr).toBe(0)
    const { stdout, stderr } = await runProgram(
      'dbclient',
      ['-y', '-y', '-i', file, '-p', String(listener.port), 'somebody@127.0.0.1', 'echo'],
      { input },
    )
    expect(stdout.toString(), stderr).toBe('well\n')
  })
})
