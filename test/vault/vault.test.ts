import { createPublicKey, verify } from 'node:crypto'
import { beforeAll, expect, test } from 'vitest'
import type { TenantId } from '../../src/postgres/index.ts'
import type { KeyLease } from '../../src/vault/index.ts'
import { newTenantId } from '../support/postgres.ts'
import { encodeLogin, type Login, openVaultFixture, session, text, wish } from './vault-fixture.ts'

const fixture = await openVaultFixture()
const { vault, database } = fixture
let tenant: TenantId

beforeAll(async () => {
  tenant = await database.createTenant()
  await vault.createSshKeys(tenant)
})

test('makes both key pairs of a tenant, RSA 4096, with the five fields of the tree', async () => {
  const admin = await vault.describe(tenant, 'admin_ssh')
  const own = await vault.describe(tenant, 'tenant_ssh')
  for (const key of [admin, own]) {
    expect(key.publicKey).toMatch(/^ssh-rsa AAAAB3NzaC1yc2E\S+ vaultterm-(admin|tenant)_ssh-/)
    expect(key.fingerprint).toMatch(/^SHA256:[A-Za-z0-9+/]{43}$/)
    expect(key.rotationPolicy).toBe('90_days')
    expect(new Date(key.createdAt).toISOString()).toBe(key.createdAt)
    expect(key.lastRotated).toBe(key.createdAt)
    expect(Date.now() - Date.parse(key.createdAt)).toBeLessThan(120_000)
    expect(modulusBits(key.publicKey)).toBe(4096)
  }
  expect(admin.publicKey).not.toBe(own.publicKey)
  const rows = await database.superuser<{ path: string }>(
    'select path from vault_secret where tenant_id = $1 order by path',
    [tenant],
  )
  expect(rows.map(({ path }) => path)).toEqual([
    `vps/${tenant}/admin_ssh`,
    `vps/${tenant}/tenant_ssh`,
  ])
  const created = (await fixture.events(tenant)).filter(({ type }) => type === 'key.create')
  expect(created).toMatchObject([
    { public: { secretName: 'admin_ssh', version: '1', fingerprint: admin.fingerprint } },
    { public: { secretName: 'tenant_ssh', version: '1', fingerprint: own.fingerprint } },
  ])
})

test('makes only what is missing, so that an interrupted tenant creation can be run again', async () => {
  const before = await vault.describe(tenant, 'admin_ssh')
  const events = await fixture.events(tenant)
  await vault.createSshKeys(tenant)
  expect(await vault.describe(tenant, 'admin_ssh')).toEqual(before)
  expect(await fixture.events(tenant)).toEqual(events)
})

test.each(['rsa-sha2-512', 'rsa-sha2-256'])('signs the login that was leased, %s', async (name) => {
  const lease = await vault.lease(tenant, wish)
  expect(lease.algorithms).toEqual(['rsa-sha2-512', 'rsa-sha2-256'])
  const data = encodeLogin({ key: lease.publicKey, algorithm: name })
  const signature = await vault.sign(lease.id, data, name)
  expectSignature(signature, name, data, await publicKeyOf('admin_ssh'))
})

test('signs the host-bound form, and only for the host key of the lease', async () => {
  const hostKey = text('the host key of the target')
  const free = await vault.lease(tenant, wish)
  await vault.sign(free.id, encodeLogin({ key: free.publicKey, hostKey }), 'rsa-sha2-512')
  const bound = await vault.lease(tenant, { ...wish, hostKey })
  await vault.sign(bound.id, encodeLogin({ key: bound.publicKey, hostKey }), 'rsa-sha2-512')
  const moved = await vault.lease(tenant, { ...wish, hostKey })
  const elsewhere = encodeLogin({ key: moved.publicKey, hostKey: text('another host key') })
  await expectRefusal(moved, elsewhere, 'host-key')
})

test('has the use of a key in the audit log, with the envelope that was opened', async () => {
  const lease = await vault.lease(tenant, wish)
  await vault.sign(lease.id, encodeLogin({ key: lease.publicKey }), 'rsa-sha2-512')
  const events = await fixture.events(tenant)
  const created = events.find(({ type }) => type === 'key.create')?.public as { secret: string }
  expect(events.at(-1)).toMatchObject({
    type: 'key.use',
    public: {
      lease: lease.id,
      session,
      secretName: 'admin_ssh',
      secret: created.secret,
      algorithm: 'rsa-sha2-512',
    },
  })
})

test('does not sign when the audit log does not take the intent', async () => {
  const lease = await vault.lease(tenant, wish)
  const signed = await fixture.count('bastion_vault_signatures_total', {})
  await database.superuser(`
    create function refuse_leaf() returns trigger language plpgsql as
      $$ begin raise exception 'no leaf today'; end $$;
    create trigger refuse before insert on audit_leaf execute function refuse_leaf()`)
  try {
    const data = encodeLogin({ key: lease.publicKey })
    await expect(vault.sign(lease.id, data, 'rsa-sha2-512')).rejects.toThrow('no leaf today')
  } finally {
    await database.superuser('drop function refuse_leaf cascade')
  }
  expect(await fixture.count('bastion_vault_signatures_total', {})).toBe(signed)
})

/** Each of these, signed, would be good for something other than the login that was leased. */
const oracles: { what: string; reason: string; bend: (key: Buffer) => Partial<Login> | Buffer }[] =
  [
    { what: 'another user', reason: 'user', bend: () => ({ user: 'admin' }) },
    { what: 'the same user in capitals', reason: 'user', bend: () => ({ user: 'Root' }) },
    { what: 'a user with a zero byte', reason: 'user', bend: () => ({ user: 'root\0' }) },
    { what: 'no user', reason: 'user', bend: () => ({ user: '' }) },
    { what: 'another key', reason: 'key', bend: () => ({ key: text('ssh-ed25519') }) },
    {
      what: 'a key with a byte more',
      reason: 'key',
      bend: (key) => ({ key: Buffer.concat([key, Buffer.of(0)]) }),
    },
    {
      what: 'another algorithm than was asked for',
      reason: 'algorithm',
      bend: () => ({ algorithm: 'rsa-sha2-256' }),
    },
    { what: 'SHA-1', reason: 'algorithm', bend: () => ({ algorithm: 'ssh-rsa' }) },
    {
      what: 'trailing bytes',
      reason: 'not-a-login',
      bend: () => ({ trailing: Buffer.of(0) }),
    },
    {
      what: 'a trailing string',
      reason: 'not-a-login',
      bend: () => ({ trailing: text('more') }),
    },
    {
      what: 'another service',
      reason: 'not-a-login',
      bend: () => ({ service: 'ssh-userauth' }),
    },
    { what: 'another method', reason: 'not-a-login', bend: () => ({ method: 'hostbased' }) },
    {
      what: 'the host-bound method without a host key',
      reason: 'not-a-login',
      bend: () => ({ method: 'publickey-hostbound-v00@openssh.com' }),
    },
    {
      what: 'the plain method with a host key',
      reason: 'not-a-login',
      bend: () => ({ method: 'publickey', hostKey: text('host') }),
    },
    { what: 'an offer', reason: 'not-a-login', bend: () => ({ hasSignature: 0 }) },
    { what: 'a true that is 2', reason: 'not-a-login', bend: () => ({ hasSignature: 2 }) },
    { what: 'another message', reason: 'not-a-login', bend: () => ({ message: 51 }) },
    {
      what: 'an exchange hash of no bytes',
      reason: 'not-a-login',
      bend: () => ({ exchangeHash: Buffer.alloc(0) }),
    },
    {
      what: 'an exchange hash of 20 bytes',
      reason: 'not-a-login',
      bend: () => ({ exchangeHash: Buffer.alloc(20) }),
    },
    { what: 'nothing', reason: 'not-a-login', bend: () => Buffer.alloc(0) },
    {
      what: 'the hash of a key exchange',
      reason: 'not-a-login',
      bend: () => Buffer.alloc(32, 0x5a),
    },
    {
      what: 'a signature of a file (SSHSIG)',
      reason: 'ssh-signature',
      bend: () =>
        Buffer.concat([
          Buffer.from('SSHSIG'),
          text('git'),
          text(''),
          text('sha512'),
          text(Buffer.alloc(64)),
        ]),
    },
    {
      what: 'a certificate to be signed',
      reason: 'certificate',
      bend: (key) =>
        Buffer.concat([text('ssh-rsa-cert-v01@openssh.com'), text(Buffer.alloc(32)), key]),
    },
    {
      what: 'a certificate of another type',
      reason: 'certificate',
      bend: () => Buffer.concat([text('ssh-ed25519-cert-v01@openssh.com'), text(Buffer.alloc(32))]),
    },
    {
      what: 'a checkpoint',
      reason: 'not-a-login',
      bend: () => Buffer.from('vaultterm/t/1\n1\nAAAA\n'),
    },
    { what: 'more than a login', reason: 'length', bend: () => Buffer.alloc(9000) },
    {
      what: 'a length that runs out of the data',
      reason: 'not-a-login',
      bend: (key) => encodeLogin({ key }).subarray(0, -1),
    },
  ]

test.each(oracles)('does not sign $what', async ({ reason, bend }) => {
  const lease = await vault.lease(tenant, wish)
  const bent = bend(lease.publicKey)
  const data = Buffer.isBuffer(bent) ? bent : encodeLogin({ key: lease.publicKey, ...bent })
  await expectRefusal(lease, data, reason)
})

test.each(['ssh-rsa', 'ssh-ed25519', 'rsa-sha2-512-cert-v01@openssh.com', ''])(
  'does not sign with the algorithm %j',
  async (algorithm) => {
    const lease = await vault.lease(tenant, wish)
    const data = encodeLogin({ key: lease.publicKey, algorithm })
    const refused = vault.sign(lease.id, data, algorithm)
    await expect(refused).rejects.toMatchObject({ reason: 'algorithm' })
  },
)

test("does not sign for tenant_ssh, the customer's own key, under a lease of admin_ssh", async () => {
  const lease = await vault.lease(tenant, wish)
  const own = blobOf((await vault.describe(tenant, 'tenant_ssh')).publicKey)
  await expectRefusal(lease, encodeLogin({ key: own }), 'key')
})

test('signs once for a lease, whoever asks first', async () => {
  const lease = await vault.lease(tenant, wish)
  const data = encodeLogin({ key: lease.publicKey })
  const tries = await Promise.allSettled(
    Array.from({ length: 8 }, () => vault.sign(lease.id, data, 'rsa-sha2-512')),
  )
  expect(tries.filter(({ status }) => status === 'fulfilled').length).toBe(1)
  await expectRefusal(lease, data, 'lease')
})

test('spends a lease on the first refusal', async () => {
  const lease = await vault.lease(tenant, wish)
  await expectRefusal(lease, encodeLogin({ key: lease.publicKey, user: 'x' }), 'user')
  await expectRefusal(lease, encodeLogin({ key: lease.publicKey }), 'lease')
})

test('does not sign for a lease that has expired, or that never was', async () => {
  const lease = await vault.lease(tenant, { ...wish, expiresInMs: 0 })
  await expectRefusal(lease, encodeLogin({ key: lease.publicKey }), 'lease')
  const never = { ...lease, id: '00000000-0000-4000-8000-000000000000' }
  await expectRefusal(never, encodeLogin({ key: lease.publicKey }), 'lease')
})

test('keeps leases made at once apart', async () => {
  const logins = ['root', 'deploy', 'backup', 'ops']
  const leases = await Promise.all(
    logins.map((login) => vault.lease(tenant, { ...wish, login, session: `s-${login}` })),
  )
  await Promise.all(
    leases.map(async (lease, index) => {
      const data = encodeLogin({ key: lease.publicKey, user: logins[index] ?? '' })
      const signature = await vault.sign(lease.id, data, 'rsa-sha2-512')
      expectSignature(signature, 'rsa-sha2-512', data, await publicKeyOf('admin_ssh'))
    }),
  )
})

test('has no key for a tenant that was given none', async () => {
  const other = await database.createTenant()
  const askings = [
    () => vault.describe(other, 'admin_ssh'),
    () => vault.lease(other, wish),
    () => vault.lease(newTenantId(), wish),
  ]
  for (const ask of askings) {
    await expect(ask()).rejects.toMatchObject({ code: 'ERR_VAULT_KEY_MISSING' })
  }
})

test('counts what it sealed, opened, signed and refused', async () => {
  const before = await fixture.count('bastion_vault_refusals_total', { reason: 'lease' })
  await expect(vault.sign('none', Buffer.alloc(0), 'rsa-sha2-512')).rejects.toThrow()
  expect(await fixture.count('bastion_vault_refusals_total', { reason: 'lease' })).toBe(before + 1)
  expect(await fixture.count('bastion_vault_envelopes_total', { act: 'seal' })).toBe(2)
  const signatures = await fixture.count('bastion_vault_signatures_total', { purpose: 'upstream' })
  expect(await fixture.count('bastion_vault_envelopes_total', { act: 'open' })).toBe(signatures)
})

async function expectRefusal(lease: KeyLease, data: Buffer, reason: string): Promise<void> {
  const events = await fixture.events(tenant)
  const refused = vault.sign(lease.id, data, 'rsa-sha2-512')
  await expect(refused).rejects.toMatchObject({ code: 'ERR_VAULT_REFUSED', reason })
  // No key was opened, so there is no use of one in the log.
  expect(await fixture.events(tenant)).toEqual(events)
}

async function publicKeyOf(name: 'admin_ssh' | 'tenant_ssh') {
  const { n, e } = rsaNumbers(blobOf((await vault.describe(tenant, name)).publicKey))
  const jwk = { kty: 'RSA', n: n.toString('base64url'), e: e.toString('base64url') }
  return createPublicKey({ key: jwk, format: 'jwk' })
}

function expectSignature(
  blob: Buffer,
  algorithm: string,
  data: Buffer,
  key: ReturnType<typeof createPublicKey>,
): void {
  const [name, signature] = strings(blob)
  expect(name?.toString()).toBe(algorithm)
  expect(signature?.length).toBe(512)
  const hash = algorithm === 'rsa-sha2-512' ? 'sha512' : 'sha256'
  expect(verify(hash, data, key, signature ?? Buffer.alloc(0))).toBe(true)
}

function blobOf(line: string): Buffer {
  return Buffer.from(line.split(' ')[1] ?? '', 'base64')
}

function modulusBits(line: string): number {
  return rsaNumbers(blobOf(line)).n.subarray(1).length * 8
}

function rsaNumbers(blob: Buffer): { e: Buffer; n: Buffer } {
  const [, e = Buffer.alloc(0), n = Buffer.alloc(0)] = strings(blob)
  return { e, n }
}

function strings(bytes: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at)
    found.push(bytes.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  return found
}
