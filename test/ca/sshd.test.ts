import { execFileSync, spawnSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { appendEvent } from '../../src/audit/index.ts'
import { createCa, targetPrincipal } from '../../src/ca/index.ts'
import { setAuthorityState } from '../../src/ca/queries.ts'
import type { TenantId } from '../../src/postgres/index.ts'
import {
  connectUpstream,
  formatPublicKey,
  parseCertificate,
  type SigningKey,
} from '../../src/ssh/index.ts'
import { publicKeyBlob } from '../../src/ssh/public-key.ts'
import type { KeyLease } from '../../src/vault/index.ts'
import { issue, makeKey } from '../ssh/certificate-fixture.ts'
import { silent } from '../support/postgres.ts'
import { signingKey } from '../support/ssh-pair.ts'
import { Sshd } from '../support/sshd.ts'
import { openVaultFixture, session } from '../vault/vault-fixture.ts'

const { database, vault, events } = await openVaultFixture()
const ca = createCa({ database: database.app, vault, egress: undefined, metrics: new Registry() })
const by = { actor: 'cli', actorKind: 'operator' }
const byWhom = { public: by, private: {} }
const target = '0192f0c1-2345-7abc-8def-00000000000a'
let tenant: TenantId
const user = { id: '0192f0c1-2345-7abc-8def-0123456789aa', name: 'demo' }
let sshd: Sshd
let trust: string

beforeAll(async () => {
  tenant = await database.createTenant('acme')
  await database.superuser(
    "insert into app_user (tenant_id, id, name, role) values ($1, $2, 'demo', 'member')",
    [tenant, user.id],
  )
  sshd = await Sshd.start()
  trust = sshd.directory
  sshd.settings.push(
    `TrustedUserCAKeys ${trust}/user_ca.pub`,
    `AuthorizedPrincipalsFile ${trust}/principals/%u`,
    `RevokedKeys ${trust}/revoked.krl`,
  )
  mkdirSync(join(trust, 'principals'))
  await restore()
  await sshd.down()
  await sshd.up()
})
afterAll(() => sshd.close())

/** The target as its administrator leaves it. */
async function restore(): Promise<void> {
  const lines = (await ca.authorities(tenant, 'user')).map(({ publicKey }) =>
    formatPublicKey({ type: 'ssh-ed25519', blob: publicKey }),
  )
  writeFileSync(join(trust, 'user_ca.pub'), `${lines.join('\n')}\n`)
  const principal = targetPrincipal(tenant, target, sshd.login)
  writeFileSync(join(trust, 'principals', sshd.login), `${principal}\n`)
  writeFileSync(join(trust, 'revoked.krl'), await ca.revocationList(tenant, 'user'))
}

const wish = () => ({ session, target, login: sshd.login, permits: [], expiresInMs: 30_000 })

/** Undefined when the target lets us in, or else the code of the error. */
async function login(
  lease: Pick<KeyLease, 'publicKey' | 'certificate'> & { id?: string },
  sign?: SigningKey['sign'],
) {
  const socket = connect(sshd.port, sshd.host)
  await once(socket, 'connect')
  try {
    const connection = await connectUpstream({
      socket,
      user: sshd.login,
      hostKeyTypes: ['ssh-ed25519'],
      verifyHostKey: async () => true,
      key: {
        publicKey: lease.publicKey,
        ...(lease.certificate && { certificate: lease.certificate }),
        sign: sign ?? ((data, algorithm) => vault.sign(lease.id ?? '', data, algorithm)),
      },
      handshakeMs: 20_000,
      log: silent,
    })
    connection.destroy()
    return undefined
  } catch (err) {
    return (err as { code?: string }).code ?? String(err)
  }
}

describe('a real sshd', () => {
  test('lets in whom we certify, once for each lease', async () => {
    const lease = await ca.leaseUpstream(tenant, wish())
    expect(await login(lease)).toBeUndefined()
    expect(await login(lease)).toBeDefined()
    await expect(vault.sign(lease.id, Buffer.alloc(0), 'ssh-ed25519')).rejects.toMatchObject({
      reason: 'lease',
    })
  })

  test('reads in it what we meant', async () => {
    const permits = ['permit-port-forwarding', 'permit-pty']
    const sourced = createCa({
      database: database.app,
      vault,
      egress: '203.0.113.7,2001:db8::/32',
      metrics: new Registry(),
    })
    const { certificate = Buffer.alloc(0) } = await sourced.leaseUpstream(tenant, {
      ...wish(),
      permits,
      forceCommand: 'backup --all',
    })
    const file = join(trust, 'read-cert.pub')
    writeFileSync(file, `ssh-ed25519-cert-v01@openssh.com ${certificate.toString('base64')}\n`)
    const text = execFileSync('ssh-keygen', ['-L', '-f', file], { encoding: 'utf8' })
    const [active] = await ca.authorities(tenant, 'user')
    for (const part of [
      'user certificate',
      active?.fingerprint,
      `Key ID: "t=${tenant.slice(0, 8)} s=${session}"`,
      targetPrincipal(tenant, target, sshd.login),
      'force-command backup --all',
      'source-address 203.0.113.7,2001:db8::/32',
      'permit-port-forwarding',
      'permit-pty',
    ]) {
      expect(text).toContain(part)
    }
    expect(text).not.toContain('permit-agent')
  })

  test('refuses one for another account, or for another target', async () => {
    const elsewhere = { ...wish(), target: '0192f0c1-2345-7abc-8def-00000000000b' }
    expect(await login(await ca.leaseUpstream(tenant, elsewhere))).toBe('ERR_UPSTREAM_AUTH')
    // The vault sees for whom it would sign, and it comes to no answer of the target's.
    const other = await ca.leaseUpstream(tenant, { ...wish(), login: 'somebody-else' })
    expect(await login(other)).toBe('ERR_UPSTREAM_CLOSED')
    expect(await login(await ca.leaseUpstream(tenant, wish()))).toBeUndefined()
  })

  test('refuses one that is for another source', async () => {
    const from = (egress: string) =>
      createCa({ database: database.app, vault, egress, metrics: new Registry() })
    const other = await from('203.0.113.7').leaseUpstream(tenant, wish())
    expect(await login(other)).toBe('ERR_UPSTREAM_AUTH')
    const own = await from('127.0.0.1').leaseUpstream(tenant, wish())
    expect(await login(own)).toBeUndefined()
  })

  test('refuses one of another tenant’s authority', async () => {
    const globex = await database.createTenant(`g${Date.now()}`)
    expect(await login(await ca.leaseUpstream(globex, wish()))).toBe('ERR_UPSTREAM_AUTH')
    // Also with our principal in it.
    const principal = targetPrincipal(globex, target, sshd.login)
    const file = join(trust, 'principals', sshd.login)
    writeFileSync(file, `${principal}\n`)
    expect(await login(await ca.leaseUpstream(globex, wish()))).toBe('ERR_UPSTREAM_AUTH')
    await restore()
    expect(await login(await ca.leaseUpstream(tenant, wish()))).toBeUndefined()
  })

  test('refuses what our list revokes, and takes the rest', async () => {
    const serialOf = (blob: Buffer | undefined) => {
      const parsed = parseCertificate(blob ?? Buffer.alloc(0))
      if ('problem' in parsed) throw new Error(parsed.problem)
      return parsed.certificate.serial
    }
    const lease = await ca.leaseUpstream(tenant, wish())
    expect(await ca.revoke(tenant, 'user', { serial: serialOf(lease.certificate) }, by)).toBe(true)
    expect(await ca.revoke(tenant, 'user', { serial: serialOf(lease.certificate) }, by)).toBe(false)
    await restore()
    expect(await login(lease)).toBe('ERR_UPSTREAM_AUTH')
    expect(await login(await ca.leaseUpstream(tenant, wish()))).toBeUndefined()
    const keyId = `t=${tenant.slice(0, 8)} s=0192f0c1-2345-7abc-8def-0123456789ff`
    await ca.revoke(tenant, 'user', { keyId }, by)
    await restore()
    const named = await ca.leaseUpstream(tenant, {
      ...wish(),
      session: '0192f0c1-2345-7abc-8def-0123456789ff',
    })
    expect(await login(named)).toBe('ERR_UPSTREAM_AUTH')
    expect(await login(await ca.leaseUpstream(tenant, wish()))).toBeUndefined()
    expect((await events(tenant)).filter(({ type }) => type === 'cert.revoke')).toHaveLength(2)
  })

  test('with a damaged list lets nobody in: replacing it has to be atomic', async () => {
    writeFileSync(join(trust, 'revoked.krl'), 'SSHKRL')
    expect(await login(await ca.leaseUpstream(tenant, wish()))).toBe('ERR_UPSTREAM_AUTH')
    await restore()
    expect(await login(await ca.leaseUpstream(tenant, wish()))).toBeUndefined()
  })

  test.each<[string, Parameters<typeof issue>[0]]>([
    ['has expired', { validAfter: 1n, validBefore: 2n }],
    ['has an unknown critical option', { criticalOptions: new Map([['no-such', 'x']]) }],
    ['is for hosts', { kind: 'host' }],
  ])('and our own check refuse alike one that %s', async (_, bent) => {
    const authority = makeKey()
    const line = `ssh-ed25519 ${authority.blob.toString('base64')}\n`
    writeFileSync(join(trust, 'user_ca.pub'), line)
    const { privateKey } = generateKeyPairSync('ed25519')
    const now = BigInt(Math.floor(Date.now() / 1000))
    const make = (more: Parameters<typeof issue>[0]) =>
      issue(
        {
          publicKey: publicKeyBlob(privateKey),
          principals: [targetPrincipal(tenant, target, sshd.login)],
          validAfter: now - 60n,
          validBefore: now + 60n,
          ...more,
        },
        authority,
      )
    const attempt = (certificate: Buffer) => {
      const key = signingKey(privateKey, certificate)
      return login({ publicKey: key.publicKey, certificate }, key.sign)
    }
    expect(await attempt(make({}))).toBeUndefined()
    expect(await attempt(make(bent))).toBe('ERR_UPSTREAM_AUTH')
    await restore()
  })
})

describe('generations', () => {
  test('are made once, also when many ask at once, and each of them is on the log', async () => {
    const fresh = await database.createTenant(`f${Date.now()}`)
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => ca.authorities(fresh, 'host')),
    )
    const first = answers[0]?.map(({ fingerprint }) => fingerprint)
    expect(first).toHaveLength(2)
    for (const answer of answers) {
      expect(answer.map(({ fingerprint }) => fingerprint)).toEqual(first)
    }
    const made = (await events(fresh)).filter(({ type }) => type === 'ca.create')
    expect(made.map(({ public: values }) => values)).toMatchObject([
      { generation: '1', state: 'active' },
      { generation: '2', state: 'next' },
    ])
  })

  test('turn once when two turn them at once', async () => {
    const fresh = await database.createTenant(`r${Date.now()}`)
    await ca.authorities(fresh, 'user')
    await Promise.all([ca.rotate(fresh, 'user', by), ca.rotate(fresh, 'user', by)])
    const states = (await ca.authorities(fresh, 'user')).map(({ state }) => state)
    expect(states.filter((state) => state === 'active')).toHaveLength(1)
    expect(states.filter((state) => state === 'next')).toHaveLength(1)
  })

  test('sign by the generation that another node has turned to', async () => {
    const fresh = await database.createTenant(`g${Date.now()}`)
    const other = createCa({
      database: database.app,
      vault,
      egress: undefined,
      metrics: new Registry(),
    })
    const generationOf = async () => {
      const { certificate } = await ca.leaseUpstream(fresh, wish())
      const parsed = parseCertificate(certificate ?? Buffer.alloc(0))
      if ('problem' in parsed) throw new Error(parsed.problem)
      const { signatureKey } = parsed.certificate
      const known = await ca.authorities(fresh, 'user')
      return known.find(({ publicKey }) => publicKey.equals(signatureKey))?.generation
    }
    // With serials in hand: this node does not ask whose they are.
    for (let i = 0; i < 4; i++) expect(await generationOf()).toBe(1)
    await other.rotate(fresh, 'user', by)
    expect(await generationOf()).toBe(2)
    const issued = (await events(fresh)).filter(({ type }) => type === 'cert.issue')
    const generations = ['1', '1', '1', '1', '2']
    expect(issued).toMatchObject(generations.map((generation) => ({ public: { generation } })))
  })

  test('attack: sign for whoever waits while they are being turned', async () => {
    const fresh = await database.createTenant(`w${Date.now()}`)
    await ca.leaseUpstream(fresh, wish())
    await ca.leaseUpstream(fresh, wish())
    const [held, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const turned = database.app.write(fresh, async (tx) => {
      await setAuthorityState(tx, 'user', 1, 'retired')
      await setAuthorityState(tx, 'user', 2, 'active')
      await appendEvent(tx, { type: 'ca.rotate', public: { certKind: 'user', generation: '2' } })
      held.resolve()
      await release.promise
    })
    await held.promise
    // With a serial of the first one in hand, behind the log's lock.
    const leased = ca.leaseUpstream(fresh, wish())
    await new Promise((done) => setTimeout(done, 200))
    release.resolve()
    await Promise.all([turned, leased])
    const [, , rotated, last] = (await events(fresh)).filter(({ type }) =>
      ['ca.rotate', 'cert.issue'].includes(type),
    )
    expect(rotated).toMatchObject({ type: 'ca.rotate' })
    expect(last).toMatchObject({ type: 'cert.issue', public: { generation: '2' } })
  })

  test('never give a serial twice', async () => {
    const { blob } = makeKey()
    const issued = await Promise.all(
      Array.from({ length: 20 }, () =>
        ca.issueUser(tenant, { user, publicKey: blob, ttlSeconds: 60 }, byWhom),
      ),
    )
    expect(new Set(issued.map(({ serial }) => serial)).size).toBe(20)
    const another = createCa({
      database: database.app,
      vault,
      egress: undefined,
      metrics: new Registry(),
    })
    const more = await another.issueUser(tenant, { user, publicKey: blob, ttlSeconds: 60 }, byWhom)
    expect(issued.map(({ serial }) => serial)).not.toContain(more.serial)
  })
})

describe('is not issued', () => {
  test.each([
    ['for a day and a second', { ttlSeconds: 86_401 }],
    ['for no time', { ttlSeconds: 0 }],
    ['for half a second', { ttlSeconds: 60.5 }],
    ['for a key that is none', { publicKey: Buffer.from('no key') }],
    ['for addresses that are none', { sourceAddress: 'home' }],
    ['for addresses without end', { sourceAddress: Array(2000).fill('192.0.2.1').join(',') }],
    ['for no command', { forceCommand: '' }],
    ['for a blank command', { forceCommand: ' \n' }],
    ['attack: for a command that was not text', { forceCommand: 'cat /srv/\ufffd' }],
    ['for a command of 100 kB', { forceCommand: 'x'.repeat(100_000) }],
  ])('%s', async (_, bent) => {
    const good = { user, publicKey: makeKey().blob, ttlSeconds: 3600 }
    await expect(ca.issueUser(tenant, { ...good, ...bent }, byWhom)).rejects.toMatchObject({
      code: 'ERR_CERT_INVALID',
    })
    expect(await ca.issueUser(tenant, good, byWhom)).toMatchObject({ kind: 'user' })
  })

  test('while the vault is sealed, and is not on the log as if it were', async () => {
    const before = (await events(tenant)).filter(({ type }) => type === 'cert.issue').length
    const lease = await ca.leaseUpstream(tenant, wish())
    await vault.seal()
    await expect(ca.leaseUpstream(tenant, wish())).rejects.toMatchObject({
      code: 'ERR_VAULT_SEALED',
    })
    expect(await login(lease)).not.toBeUndefined()
    await vault.unseal()
    const after = (await events(tenant)).filter(({ type }) => type === 'cert.issue').length
    expect(after).toBe(Math.min(before + 1, 200))
  })
})

test('a list is read by ssh-keygen, also an empty one', async () => {
  const fresh = await database.createTenant(`k${Date.now()}`)
  const file = join(trust, 'empty.krl')
  writeFileSync(file, await ca.revocationList(fresh, 'host'))
  const { stdout, status } = spawnSync('ssh-keygen', ['-Q', '-l', '-f', file], { encoding: 'utf8' })
  expect({ status, isKrl: stdout.includes('KRL version 1') }).toEqual({ status: 0, isKrl: true })
})
