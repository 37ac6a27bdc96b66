import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll, expect, test } from 'vitest'
import { createAccess } from '../../src/access/index.ts'
import { createAuth } from '../../src/auth/index.ts'
import { createCa, loginCertificates } from '../../src/ca/index.ts'
import { type BootstrapDeps, keepKekFile, startDemo } from '../../src/local/index.ts'
import { generateHostKey } from '../../src/ssh/index.ts'
import { createTenants } from '../../src/tenant/index.ts'
import { createVault, openKek } from '../../src/vault/index.ts'
import { openTestDatabase, silent } from '../support/postgres.ts'

const { app: database } = await openTestDatabase()
const base = mkdtempSync(join(tmpdir(), 'bootstrap-'))
const directory = join(base, 'demo')
await keepKekFile(join(base, 'kek'))
const kek = await openKek(`file:${join(base, 'kek')}`)
const metrics = new Registry()
const vault = createVault({ database, kek, log: silent, metrics })
const tenants = createTenants({ database, vault, log: silent })
const ca = createCa({ database, vault, egress: undefined, metrics: new Registry() })
const certificates = loginCertificates(ca)
const auth = createAuth({ database, vault, certificates, log: silent, metrics })
const access = createAccess({ database, vault, ca, registry: undefined, log: silent, metrics })
const deps: BootstrapDeps = { tenants, auth, access, vault, ca, log: silent }
const operator = { kind: 'operator', id: 'cli', name: 'test' } as const

afterAll(async () => {
  await vault.close()
  rmSync(base, { recursive: true })
})

async function state() {
  const tenant = await tenants.find('acme')
  const [target] = await access.listTargets(tenant.id)
  return {
    tenant: tenant.id,
    target,
    users: (await auth.listUsers(tenant.id)).map(({ name, role }) => `${name} ${role}`),
    keys: (await auth.listKeys(tenant.id)).map(({ fingerprint }) => fingerprint),
    targets: (await access.listTargets(tenant.id)).map(({ name }) => name),
    grants: (await access.listGrants(tenant.id)).map(({ user, target }) => `${user} ${target}`),
  }
}

/** Deps of which the nth call fails, as a kill there would. */
function dyingAt(n: number): BootstrapDeps {
  let left = n
  const dying = <T extends object>(real: T): T =>
    new Proxy(real, {
      get(target, name, receiver) {
        const value: unknown = Reflect.get(target, name, receiver)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) => {
          left -= 1
          if (left < 0) throw new Error('killed')
          return value.apply(target, args)
        }
      },
    })
  return {
    tenants: dying(tenants),
    auth: dying(auth),
    access: dying(access),
    vault: dying(vault),
    ca: dying(ca),
    log: silent,
  }
}

test('a start that dies at any step is finished by the next, with nothing made twice', async () => {
  let died = 0
  for (;;) {
    try {
      const demo = await startDemo(directory, dyingAt(died))
      await demo?.close()
      break
    } catch (err) {
      expect(err).toMatchObject({ message: 'killed' })
      died += 1
    }
  }
  expect(died).toBeGreaterThan(5)
  expect(await state()).toMatchObject({
    users: ['demo owner'],
    keys: [expect.stringMatching(/^SHA256:/)],
    targets: ['web1'],
    grants: ['demo web1'],
  })
})

test('another start changes nothing', async () => {
  const before = await state()
  const demo = await startDemo(directory, deps)
  await demo?.close()
  expect(await state()).toEqual(before)
})

test('a target whose port was taken moves, with the grants on it', async () => {
  const before = await state()
  await access.addGrant(before.tenant, { role: 'admin', target: 'web1' }, operator)
  const taken = createServer().listen(before.target?.port, '127.0.0.1')
  await new Promise((resolve) => taken.once('listening', resolve))
  const demo = await startDemo(directory, deps)
  const after = await state()
  await demo?.close()
  await new Promise((resolve) => taken.close(resolve))
  expect(after.target?.port).not.toBe(before.target?.port)
  expect(after.target?.port).toBe(Number(readFileSync(join(directory, 'port'), 'utf8')))
  expect(after.grants).toEqual(['demo web1', 'undefined web1'])
})

test('what an operator takes away stays away', async () => {
  const { tenant } = await state()
  await access.removeTarget(tenant, 'web1', operator)
  await auth.removeUser(tenant, 'demo', operator)
  const port = Number(readFileSync(join(directory, 'port'), 'utf8'))
  const demo = await startDemo(directory, deps)
  try {
    expect(demo).toMatchObject({ slug: 'acme', target: undefined })
    expect(await isOpen(port)).toBe(false)
  } finally {
    await demo?.close()
  }
  expect(await state()).toMatchObject({ users: [], targets: [], grants: [] })
})

test('a host that an operator registered under the name of the demo target keeps it, and no shell runs', async () => {
  const { tenant } = await state()
  const { publicKey } = generateHostKey()
  await access.addTarget(
    tenant,
    {
      ...{ name: 'web1', host: '192.0.2.1', port: 22, logins: ['root'] },
      hostKeys: [{ type: publicKey.type, blob: publicKey.blob }],
    },
    operator,
  )
  const before = await state()
  const demo = await startDemo(directory, deps)
  try {
    expect(demo).toMatchObject({ target: undefined })
    expect(await isOpen(Number(readFileSync(join(directory, 'port'), 'utf8')))).toBe(false)
  } finally {
    await demo?.close()
  }
  expect(await state()).toEqual(before)
})

async function isOpen(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
