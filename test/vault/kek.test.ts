import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { Place } from '../../src/vault/envelope.ts'
import { createKekFile, openKek } from '../../src/vault/index.ts'

const directory = mkdtempSync(join(tmpdir(), 'vaultterm-kek-'))
afterAll(() => rmSync(directory, { recursive: true }))

const place: Place = { tenant: 't', path: 'kek/t', version: 1, kind: 'wrappedKek' }

test('makes a key file of 32 random bytes that only its owner can read', async () => {
  const [one, two] = [fresh(), fresh()]
  await createKekFile(one)
  await createKekFile(two)
  expect(statSync(one).mode & 0o777).toBe(0o600)
  expect(Buffer.from(readFileSync(one, 'latin1'), 'base64').length).toBe(32)
  expect(readFileSync(one)).not.toEqual(readFileSync(two))
})

test('never overwrites a key file', async () => {
  const path = fresh()
  await createKekFile(path)
  const before = readFileSync(path)
  await expect(createKekFile(path)).rejects.toMatchObject({ code: 'EEXIST' })
  expect(readFileSync(path)).toEqual(before)
})

test('unwraps what it wrapped, in its place only', async () => {
  const path = fresh()
  await createKekFile(path)
  const kek = await openKek(`file:${path}`)
  const key = randomBytes(32)
  const wrapped = await kek.wrap(key, place)
  expect(wrapped.includes(key)).toBe(false)
  expect(await kek.unwrap(wrapped, place)).toEqual(key)
  expect(await kek.unwrap(wrapped, { ...place, tenant: 'u' })).toBeUndefined()
  expect(await kek.unwrap(wrapped, { ...place, kind: 'wrappedDek' })).toBeUndefined()
})

test('has the same id whenever it is opened, and another file has another', async () => {
  const [one, two] = [fresh(), fresh()]
  await createKekFile(one)
  await createKekFile(two)
  const id = (await openKek(`file:${one}`)).id
  expect(id).toMatch(/^file:[0-9a-f]{32}$/)
  expect((await openKek(`file:${one}`)).id).toBe(id)
  expect((await openKek(`file:${two}`)).id).not.toBe(id)
})

test('does nothing after it was forgotten, until it is loaded again', async () => {
  const path = fresh()
  await createKekFile(path)
  const kek = await openKek(`file:${path}`)
  const wrapped = await kek.wrap(randomBytes(32), place)
  kek.forget()
  await expect(kek.unwrap(wrapped, place)).rejects.toMatchObject({ code: 'ERR_VAULT_SEALED' })
  await kek.load()
  expect(await kek.unwrap(wrapped, place)).toBeDefined()
})

const good = `${randomBytes(32).toString('base64')}\n`

const refused: { what: string; says: RegExp; make: (path: string) => void }[] = [
  { what: 'a missing file', says: /openssl rand/, make: () => {} },
  { what: 'a directory', says: /not a file/, make: (path) => mkdirSync(path) },
  { what: 'a file others can read', says: /chmod 600/, make: (path) => write(path, good, 0o644) },
  { what: 'a file the group can read', says: /mode 640/, make: (path) => write(path, good, 0o640) },
  { what: 'an empty file', says: /base64/, make: (path) => write(path, '') },
  { what: 'a password', says: /base64/, make: (path) => write(path, 'a'.repeat(32)) },
  { what: '31 bytes', says: /base64/, make: (path) => write(path, randomBytes(31), 0o600) },
  { what: 'two keys', says: /base64/, make: (path) => write(path, good + good) },
  { what: 'a long file', says: /too long/, make: (path) => write(path, 'a'.repeat(4096)) },
]

test.each(refused)('refuses $what and says what to do', async ({ says, make }) => {
  const path = fresh()
  make(path)
  const opening = openKek(`file:${path}`)
  await expect(opening).rejects.toMatchObject({ code: 'ERR_KEK_UNREADABLE' })
  await expect(opening).rejects.toThrow(says)
  await expect(opening).rejects.not.toThrow(good.slice(0, 12))
})

test.runIf(process.getuid?.() === 0)("refuses another user's file", async () => {
  const path = fresh()
  write(path, good)
  chownSync(path, 65_534, 65_534)
  await expect(openKek(`file:${path}`)).rejects.toThrow(/another user/)
})

test('judges the file that a link leads to, not the link', async () => {
  const [path, link] = [fresh(), fresh()]
  write(path, good, 0o644)
  symlinkSync(path, link)
  await expect(openKek(`file:${link}`)).rejects.toThrow(/chmod 600/)
  chmodSync(path, 0o400)
  expect((await openKek(`file:${link}`)).provider).toBe('file')
})

test.each(['', 'file:', '/etc/kek', 'env:KEK'])('refuses the setting %j', async (setting) => {
  await expect(openKek(setting)).rejects.toMatchObject({ code: 'ERR_KEK_UNREADABLE' })
})

let files = 0
function fresh(): string {
  files += 1
  return join(directory, `kek-${files}`)
}

function write(path: string, content: string | Buffer, mode = 0o600): void {
  writeFileSync(path, content)
  chmodSync(path, mode)
}
