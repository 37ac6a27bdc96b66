import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  addTarget,
  demoKey,
  events,
  eventually,
  makeKey,
  sessions,
  sshAs,
} from '../support/installation.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { type Finished, VaultTerm } from '../support/vaultterm.ts'

interface Onboarding {
  readonly trustedUserCAKeys: readonly string[]
  readonly principals: { readonly [login: string]: string }
  readonly krl: string
  readonly lines: readonly string[]
}

let vaultterm: VaultTerm
let sshd: Sshd
let plain: Sshd
let trust: string

beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  trust = join(vaultterm.home, 'trust')
  mkdirSync(join(trust, 'principals'), { recursive: true })
  writeFileSync(join(trust, 'user_ca.pub'), '')
  sshd = await Sshd.start([
    `TrustedUserCAKeys ${trust}/user_ca.pub`,
    `AuthorizedPrincipalsFile ${trust}/principals/%u`,
    'LogLevel VERBOSE',
  ])
  plain = await Sshd.start()
  await addCertified('certified')
  await addTarget(vaultterm, plain)
})

afterAll(async () => {
  await sshd?.close()
  await plain?.close()
  await vaultterm?.close()
})

async function addCertified(name: string): Promise<void> {
  await vaultterm.json(
    ...['target', 'add', 'acme', name, '--host', sshd.host, '--port', String(sshd.port)],
    ...['--login', sshd.login, '--host-key', sshd.hostKeyFile, '--auth', 'cert'],
  )
  await vaultterm.json('grant', 'add', 'acme', '--user', 'demo', '--target', name)
}

/** What an administrator of the target does with what they are given. */
async function onboard(name: string): Promise<Onboarding> {
  const onboarding = await vaultterm.json<Onboarding>('target', 'onboard', 'acme', name)
  writeFileSync(join(trust, 'user_ca.pub'), `${onboarding.trustedUserCAKeys.join('\n')}\n`)
  for (const [login, principal] of Object.entries(onboarding.principals)) {
    writeFileSync(join(trust, 'principals', login), `${principal}\n`)
  }
  return onboarding
}

const run = (target: string, ...args: string[]) => vaultterm.ssh([`acme+${target}`, ...args])

describe('a target that takes certificates', () => {
  test('is closed to us until it is onboarded, and says how', async () => {
    const refused = await run('certified', 'true')
    expect(refused.code).toBe(255)
    expect(refused.stderr).toContain('ERR_TARGET_REFUSED_KEY')
    expect(refused.stderr).toContain('vaultterm target onboard acme certified')
  })

  test('is opened with a certificate of its own, which is on the log before it is used', async () => {
    await onboard('certified')
    const done = await run('certified', 'echo', 'inside')
    expect(done).toMatchObject({ stdout: 'inside\n', code: 0 })
    const [session] = await sessions(vaultterm)
    const log = (await events(vaultterm)).filter(
      (event) => event.public.session === session?.id && event.type !== 'session.end',
    )
    expect(log.map(({ type }) => type)).toEqual(['session.start', 'cert.issue', 'session.open'])
    expect(log[1]).toMatchObject({
      public: { certKind: 'user', purpose: 'upstream', generation: '1' },
      private: { login: sshd.login },
    })
    const { validAfter, validBefore } = log[1]?.public ?? {}
    const seconds = (Date.parse(String(validBefore)) - Date.parse(String(validAfter))) / 1000
    expect(seconds).toBe(120)
  })

  test.runIf(givesTerminals)(
    'gives a terminal, a command and files, as the grant says',
    async () => {
      const typed = await vaultterm.ssh(['-tt', 'acme+certified', 'tty'])
      expect(typed.stdout).toMatch(/^\/dev\/pts\//)
      const listed = await vaultterm.ssh(['-s', 'acme+certified', 'sftp'], '')
      expect(listed.code).toBe(0)
    },
  )

  test('is checked by target check, and refuses whoever is not its principal', async () => {
    expect(await vaultterm.json('target', 'check', 'acme', 'certified')).toMatchObject({ ok: true })
    await addCertified('neighbour')
    // The same machine under another name: its principals are those of the first.
    const refused = await run('neighbour', 'true')
    expect(refused.stderr).toContain('ERR_TARGET_REFUSED_KEY')
    expect((await run('certified', 'true')).code).toBe(0)
    await vaultterm.json('target', 'remove', 'acme', 'neighbour')
  })
})

describe('a user with a certificate', () => {
  let key: string
  const options = (certificate: string) => ['-o', `CertificateFile=${certificate}`]

  async function issued(...args: string[]): Promise<string> {
    const file = `${key}-${Math.random().toString(36).slice(2)}-cert.pub`
    const done = await vaultterm.cli([
      ...['ca', 'issue', 'acme', '--user', 'demo', '--key', `${key}.pub`, ...args],
    ])
    expect(done.stderr).toContain('serial')
    writeFileSync(file, done.stdout)
    return file
  }

  function login(certificate: string, args: readonly string[] = ['true']): Promise<Finished> {
    return vaultterm.ssh([
      ...['-F', 'none', '-i', key, ...options(certificate), '-o', 'IdentitiesOnly=yes'],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
      ...['-o', 'BatchMode=yes', '-o', 'LogLevel=ERROR', '-p', vaultterm.sshPort],
      ...['-l', 'acme+real', '127.0.0.1', ...args],
    ])
  }

  beforeAll(() => {
    key = makeKey(vaultterm, 'unregistered')
  })

  test('is nobody without it', async () => {
    expect((await sshAs(vaultterm, 'acme+real', key)).code).toBe(255)
  })

  test('logs in with it, and OpenSSH reads it as we do', async () => {
    const certificate = await issued()
    expect(await login(certificate, ['echo', 'in'])).toMatchObject({ stdout: 'in\n', code: 0 })
    const text = execFileSync('ssh-keygen', ['-L', '-f', certificate], { encoding: 'utf8' })
    const [demo] = (
      await vaultterm.json<{ id: string; name: string }[]>('user', 'list', 'acme')
    ).filter(({ name }) => name === 'demo')
    expect(text).toContain('ssh-ed25519-cert-v01@openssh.com user certificate')
    expect(text).toContain(`user-${demo?.id}`)
    expect(text).toContain('Critical Options: (none)')
    const success = (await events(vaultterm)).find(
      ({ type, public: values }) => type === 'login.success' && values.serial !== undefined,
    )
    expect(success?.private).toMatchObject({ name: 'demo' })
  })

  test.each([
    ['--ttl', '25h'],
    ['--ttl', '1m', '--source-address', 'elsewhere'],
  ])('gets none with %s %s', async (...args) => {
    const done = await vaultterm.cli([
      ...['ca', 'issue', 'acme', '--user', 'demo', '--key', `${key}.pub`, ...args],
    ])
    expect(done).toMatchObject({ code: 1, stdout: '' })
    expect(done.stderr).toContain('ERR_CERT_INVALID')
  })

  test('comes from where it says, or not at all', async () => {
    expect((await login(await issued('--source-address', '203.0.113.0/24'))).code).toBe(255)
    expect((await login(await issued('--source-address', '127.0.0.0/8'))).code).toBe(0)
  })

  test('runs the one command that it is for, whatever is asked for', async () => {
    const certificate = await issued('--force-command', 'echo only this')
    expect(await login(certificate, ['echo', 'that'])).toMatchObject({ stdout: 'only this\n' })
    expect((await login(certificate, [])).stdout).toBe('only this\n')
    const [session] = await sessions(vaultterm)
    expect(session?.kind).toBe('exec')
  })

  test('is out at once when it is revoked, and stays out', async () => {
    const certificate = await issued()
    const text = execFileSync('ssh-keygen', ['-L', '-f', certificate], { encoding: 'utf8' })
    const serial = /Serial: (\d+)/.exec(text)?.[1] ?? ''
    const live = login(certificate, ['sleep', '30'])
    await eventually(
      async () => (await sessions(vaultterm)).find((one) => one.live),
      'a live session',
    )
    await vaultterm.json('ca', 'revoke', 'acme', '--serial', serial)
    expect((await live).stderr).toContain('ERR_SESSION_KILLED')
    expect((await login(certificate)).code).toBe(255)
    // Another of the same authority is as good as before.
    expect((await login(await issued())).code).toBe(0)
    const krl = join(vaultterm.home, 'user.krl')
    await vaultterm.cli(['ca', 'krl', 'acme', '-o', krl])
    // The next list takes its place; a link in that place is replaced, and what it leads to stays.
    const other = join(vaultterm.home, 'other')
    writeFileSync(other, 'other')
    rmSync(krl)
    symlinkSync(other, krl)
    expect(await vaultterm.cli(['ca', 'krl', 'acme', '-o', krl])).toMatchObject({ code: 0 })
    expect(readFileSync(other, 'utf8')).toBe('other')
    const asked = (file: string) => {
      try {
        return execFileSync('ssh-keygen', ['-Q', '-f', krl, file], { encoding: 'utf8' })
      } catch (err) {
        return String((err as { stdout?: string }).stdout)
      }
    }
    expect(asked(certificate)).toContain('REVOKED')
    expect(asked(await issued())).toContain('ok')
  })

  test('attack: is out with the key that it certifies, and a revoked key does not come back', async () => {
    const registered = makeKey(vaultterm, 'registered')
    const file = `${registered}.pub`
    const issue = (...args: string[]) =>
      vaultterm.cli(['ca', 'issue', 'acme', '--user', 'demo', '--key', file, ...args])
    const certificate = `${registered}-cert.pub`
    const certify = async (...args: string[]) => {
      const done = await issue(...args)
      writeFileSync(certificate, done.stdout)
      return done
    }
    // OpenSSH finds the certificate beside the key.
    const enter = (args: readonly string[] = ['true']) =>
      sshAs(vaultterm, 'acme+real', registered, args)
    const { fingerprint } = await vaultterm.json<{ fingerprint: string }>(
      ...['key', 'add', 'acme', 'demo', file],
    )
    await certify()
    const live = enter(['sleep', '30'])
    await eventually(
      async () => (await sessions(vaultterm)).find((one) => one.live),
      'a live session',
    )
    await vaultterm.json('key', 'remove', 'acme', fingerprint)
    expect((await live).stderr).toContain('ERR_SESSION_KILLED')
    expect((await enter()).code).toBe(255)
    const log = (await events(vaultterm)).map(({ type }) => type)
    expect(log.filter((type) => /^(cert.revoke|key.remove)$/.test(type)).slice(-2)).toEqual([
      ...['cert.revoke', 'key.remove'],
    ])

    // Whoever holds the key may have it certified again, and no longer than it is registered for.
    const until = new Date(Date.now() + 3_600_000).toISOString()
    await vaultterm.json('key', 'add', 'acme', 'demo', file, '--expires', until)
    expect((await issue('--ttl', '2h')).stderr).toMatch(/this key ends at .*ERR_CERT/)
    expect((await certify('--ttl', '30m')).code).toBe(0)
    expect((await enter()).code).toBe(0)

    // Without its certificate too: it is registered still.
    rmSync(certificate)
    expect((await enter()).code).toBe(0)
    const again = enter(['sleep', '30'])
    await eventually(
      async () => (await sessions(vaultterm)).find((one) => one.live),
      'a live session',
    )
    await vaultterm.json('ca', 'revoke', 'acme', '--key', file)
    expect((await again).stderr).toContain('ERR_SESSION_KILLED')
    expect((await enter()).code).toBe(255)
    await vaultterm.json('key', 'remove', 'acme', fingerprint)
    expect((await issue()).stderr).toContain('this key was revoked')
    expect((await vaultterm.cli(['key', 'add', 'acme', 'demo', file])).stderr).toContain(
      'this key was revoked',
    )
  })

  test('of another tenant is nobody here', async () => {
    await vaultterm.json('tenant', 'create', 'globex')
    await vaultterm.json('user', 'add', 'globex', 'demo')
    const done = await vaultterm.cli([
      ...['ca', 'issue', 'globex', '--user', 'demo', '--key', `${key}.pub`],
    ])
    const foreign = `${key}-foreign-cert.pub`
    writeFileSync(foreign, done.stdout)
    expect((await login(foreign)).code).toBe(255)
    expect((await login(await issued())).code).toBe(0)
  })

  test('is out when the user is removed', async () => {
    await vaultterm.json('user', 'add', 'acme', 'guest')
    await vaultterm.json('grant', 'add', 'acme', '--user', 'guest', '--target', 'real')
    const done = await vaultterm.cli([
      ...['ca', 'issue', 'acme', '--user', 'guest', '--key', `${key}.pub`],
    ])
    const certificate = `${key}-guest-cert.pub`
    writeFileSync(certificate, done.stdout)
    expect((await login(certificate)).code).toBe(0)
    await vaultterm.json('user', 'remove', 'acme', 'guest')
    expect((await login(certificate)).code).toBe(255)
  })
})

describe('rotation of the user authority', () => {
  test('waits for targets that do not trust the next one, and then locks nobody out', async () => {
    const [before] = await vaultterm.json<{ fingerprint: string }[]>('ca', 'show', 'acme')
    // Onboarded while there were two; what is left out here is the next one.
    const { trustedUserCAKeys } = await onboard('certified')
    writeFileSync(join(trust, 'user_ca.pub'), `${trustedUserCAKeys[0]}\n`)
    const early = await vaultterm.cli(['ca', 'rotate', 'acme'])
    expect(early.code).toBe(1)
    expect(early.stderr).toContain('certified')
    expect((await run('certified', 'true')).code).toBe(0)

    await onboard('certified')
    const rotated = await vaultterm.cli(['ca', 'rotate', 'acme'])
    expect(rotated).toMatchObject({ code: 0 })
    // The target has not been touched since.
    expect((await run('certified', 'true')).code).toBe(0)
    const now = await vaultterm.json<{ state: string; generation: number; fingerprint: string }[]>(
      'ca',
      'show',
      'acme',
    )
    expect(now.map(({ state }) => state)).toEqual(['retired', 'active', 'next'])
    expect(now[0]?.fingerprint).toBe(before?.fingerprint)
    // And the retired one is not what it was let in with.
    writeFileSync(join(trust, 'user_ca.pub'), `${trustedUserCAKeys[0]}\n`)
    expect((await run('certified', 'true')).stderr).toContain('ERR_TARGET_REFUSED_KEY')
  })
})

describe('a target with a host certificate', () => {
  test('may change its host key, when our authority vouches for the new one', async () => {
    expect((await run('real', 'true')).code).toBe(0)
    await plain.down()
    plain.newHostKey()
    await plain.up()
    const changed = await run('real', 'true')
    expect(changed.stderr).toContain('ERR_TARGET_HOST_KEY')

    const certify = async (target: string) => {
      const done = await vaultterm.cli(['ca', 'host', 'acme', target, '--key', plain.hostKeyFile])
      writeFileSync(join(plain.directory, 'host_key-cert.pub'), done.stdout)
    }
    const settings = ['HostCertificate', join(plain.directory, 'host_key-cert.pub')].join(' ')
    plain.settings.push(settings)
    // For another target's name it vouches for nothing here.
    await certify('web1')
    await plain.down()
    await plain.up()
    expect((await run('real', 'true')).stderr).toContain('ERR_TARGET_HOST_KEY')
    await certify('real')
    await plain.down()
    await plain.up()
    expect((await run('real', 'true')).code).toBe(0)
    const key = readFileSync(plain.hostKeyFile, 'utf8')
    await vaultterm.json('ca', 'revoke', 'acme', '--host', '--key', plain.hostKeyFile)
    expect(key).toContain('ssh-ed25519')
    expect((await run('real', 'true')).stderr).toContain('ERR_TARGET_HOST_KEY')
  })
})

test('a registered key goes on to work beside all that', async () => {
  expect((await sshAs(vaultterm, 'acme+web1', demoKey(vaultterm))).code).toBe(0)
})
