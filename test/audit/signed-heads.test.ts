import { randomUUID } from 'node:crypto'
import {
  appendFile,
  chmod,
  mkdtemp,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { appendLeaf, emptyTree } from '../../src/audit/merkle.ts'
import { type SignedHead, SignedHeadsFile } from '../../src/audit/signed-heads.ts'
import { parseTenantId, type TenantId } from '../../src/postgres/index.ts'

let path: string
const directories: string[] = []
beforeEach(async () => {
  const directory = await mkdtemp(join(tmpdir(), 'vaultterm-heads-'))
  directories.push(directory)
  path = join(directory, 'signed-heads')
})
afterAll(() => Promise.all(directories.map((one) => rm(one, { recursive: true }))))

const newTenant = (): TenantId => {
  const id = parseTenantId(randomUUID())
  if (id === undefined) throw new Error('no UUID')
  return id
}

function head(tenant: TenantId, size: number, origin = `vaultterm/t/${tenant}`): SignedHead {
  const leaves = Array.from({ length: size }, (_, at) => Buffer.from(`${tenant} ${at}`))
  const tree = leaves.reduce(appendLeaf, emptyTree)
  return { tenant, origin, ...tree, signature: Buffer.alloc(68, size % 256) }
}

async function reopen(): Promise<SignedHeadsFile> {
  const heads = new SignedHeadsFile(path)
  await heads.refresh()
  return heads
}

test('remembers the last head of each log when it is opened again', async () => {
  const [acme, globex] = [newTenant(), newTenant()]
  const heads = await reopen()
  await heads.record(head(acme, 3))
  await Promise.all([heads.record(head(acme, 7)), heads.record(head(globex, 5))])
  const again = await reopen()
  expect(again.find(acme)).toEqual(head(acme, 7))
  expect(again.find(globex)).toEqual(head(globex, 5))
  expect(again.find(newTenant())).toBeUndefined()
})

test('forgets no larger head for a smaller one, and takes on a new epoch', async () => {
  const tenant = newTenant()
  const heads = await reopen()
  await heads.record(head(tenant, 9))
  await heads.record(head(tenant, 4))
  expect(heads.find(tenant)?.size).toBe(9)
  expect((await reopen()).find(tenant)?.size).toBe(9)
  await heads.record(head(tenant, 2, 'vaultterm/t/next'), { isAnew: true })
  expect((await reopen()).find(tenant)).toEqual(head(tenant, 2, 'vaultterm/t/next'))
})

test('attack: a head that was signed before a new epoch began does not come behind it', async () => {
  const tenant = newTenant()
  const [server, operator] = [await reopen(), await reopen()]
  await server.record(head(tenant, 9))
  await operator.refresh()
  const late = () => server.record(head(tenant, 12))
  await operator.record(head(tenant, 1, 'vaultterm/t/next'), { isAnew: true })
  await expect(late()).rejects.toMatchObject({ code: 'ERR_AUDIT_HEAD_OUTDATED' })
  expect((await reopen()).find(tenant)).toEqual(head(tenant, 1, 'vaultterm/t/next'))
  expect(server.find(tenant)?.origin).toBe('vaultterm/t/next')
  // Others that waited with it are recorded.
  const other = newTenant()
  const both = await Promise.allSettled([late(), server.record(head(other, 3))])
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
  expect((await reopen()).find(other)).toEqual(head(other, 3))
})

test('survives a crash at every byte of a write, and writes on behind it', async () => {
  const [acme, globex] = [newTenant(), newTenant()]
  const heads = await reopen()
  await heads.record(head(acme, 3))
  const before = await readFile(path)
  await heads.record(head(acme, 300))
  const after = await readFile(path)
  for (let cut = before.length; cut < after.length; cut += 7) {
    await writeFile(path, after.subarray(0, cut))
    const again = await reopen()
    expect(again.find(acme), `cut at ${cut}`).toEqual(head(acme, 3))
    await again.record(head(globex, 5))
    const later = await reopen()
    expect(later.find(acme), `cut at ${cut}`).toEqual(head(acme, 3))
    expect(later.find(globex), `cut at ${cut}`).toEqual(head(globex, 5))
  }
})

test('passes over blocks of zeros that a power cut left', async () => {
  const tenant = newTenant()
  const heads = await reopen()
  await heads.record(head(tenant, 3))
  await appendFile(path, Buffer.alloc(100))
  const again = await reopen()
  await again.record(head(tenant, 4))
  expect((await reopen()).find(tenant)).toEqual(head(tenant, 4))
})

test('stops at a line that was changed, rather than forget a head', async () => {
  const tenant = newTenant()
  await (await reopen()).record(head(tenant, 12))
  const text = await readFile(path, 'utf8')
  await writeFile(path, text.replace(' 12 ', ' 11 '))
  await expect(reopen()).rejects.toMatchObject({
    code: 'ERR_AUDIT_SIGNED_HEADS',
    message: expect.stringContaining('was changed in line 2'),
  })
})

test('stops at a file of another version', async () => {
  await writeFile(path, 'vaultterm-signed-heads/2\n')
  await expect(reopen()).rejects.toMatchObject({ code: 'ERR_AUDIT_SIGNED_HEADS' })
})

test('keeps the file to its owner', async () => {
  const heads = await reopen()
  await heads.record(head(newTenant(), 1))
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  await chmod(path, 0o644)
  await heads.record(head(newTenant(), 2))
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})

test('attack: takes no file that others may write, no link and no pipe', async () => {
  const tenant = newTenant()
  await (await reopen()).record(head(tenant, 3))
  await chmod(path, 0o666)
  await expect(reopen()).rejects.toThrow('writable by others')
  await chmod(path, 0o600)
  const link = `${path}-link`
  await symlink(path, link)
  await expect(new SignedHeadsFile(link).refresh()).rejects.toThrow('ELOOP')
  await expect(new SignedHeadsFile(link).record(head(tenant, 4))).rejects.toThrow('ELOOP')
  await expect(new SignedHeadsFile(join(path, '..')).refresh()).rejects.toMatchObject({
    code: 'ERR_AUDIT_SIGNED_HEADS',
  })
  // Control.
  expect((await reopen()).find(tenant)?.size).toBe(3)
})

test('does not grow without end: old lines go, heads stay', async () => {
  const tenants = Array.from({ length: 20 }, newTenant)
  const heads = await reopen()
  for (let size = 1; size <= 60; size += 1)
    await Promise.all(tenants.map((tenant) => heads.record(head(tenant, size))))
  const before = (await stat(path)).size
  await heads.compact()
  expect((await stat(path)).size).toBeLessThan(before / 10)
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  const again = await reopen()
  for (const tenant of tenants) expect(again.find(tenant)).toEqual(head(tenant, 60))
  await heads.record(head(tenants[0] ?? newTenant(), 61))
  expect((await reopen()).find(tenants[0] ?? newTenant())?.size).toBe(61)
})

test('loses nothing that another process records while the file is compacted', async () => {
  const shared = newTenant()
  const [one, other] = [await reopen(), await reopen()]
  for (let size = 1; size <= 1200; size += 1) await one.record(head(shared, 1 + (size % 3)))
  const tenants = Array.from({ length: 30 }, newTenant)
  await Promise.all([
    (async () => {
      for (const tenant of tenants) await other.record(head(tenant, 2))
    })(),
    (async () => {
      for (let round = 0; round < 3; round += 1) {
        await one.compact()
        for (let at = 0; at < 20; at += 1) await one.record(head(shared, 3))
      }
    })(),
  ])
  const again = await reopen()
  for (const tenant of tenants) expect(again.find(tenant)).toEqual(head(tenant, 2))
  expect(again.find(shared)?.size).toBe(3)
  // And each process sees the other's.
  await one.refresh()
  for (const tenant of tenants) expect(one.find(tenant)?.size).toBe(2)
})
