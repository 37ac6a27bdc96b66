import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { createAudit, parseNote, parseVerifierKey } from '../../src/audit/index.ts'
import { systemTenant } from '../../src/postgres/index.ts'
import { silent } from '../support/postgres.ts'
import { openVaultFixture } from './vault-fixture.ts'

const fixture = await openVaultFixture()
const { vault, database } = fixture
const root = Buffer.alloc(32, 7).toString('base64')

test('makes one key for the platform, whoever comes first, and keeps it', async () => {
  const others = await Promise.all([1, 2, 3].map(() => fixture.another()))
  const signers = await Promise.all(others.map((other) => other.checkpointSigner()))
  const keys = new Set(signers.map(({ verifierKey }) => verifierKey))
  expect(keys.size).toBe(1)
  const signer = await vault.checkpointSigner()
  expect(keys.has(signer.verifierKey)).toBe(true)
  expect(parseVerifierKey(signer.verifierKey).name).toBe(signer.name)
  const created = (await fixture.events(systemTenant)).filter(({ type }) => type === 'key.create')
  expect(created).toMatchObject([{ public: { secretName: 'checkpoint', algorithm: 'ed25519' } }])
})

test('signs checkpoints that the audit log can verify', async () => {
  const signer = () => vault.checkpointSigner()
  const audit = createAudit({
    database: database.app,
    log: silent,
    metrics: new Registry(),
    signer,
  })
  const note = parseNote(await audit.checkpoint(systemTenant))
  expect(note.signatures.length).toBe(1)
  expect((await audit.verify(systemTenant)).faults).toEqual([])
})

test.each([
  ['nothing', ''],
  ['no text', Buffer.alloc(32)],
  ['two lines', `vaultterm/t/1\n${root}\n`],
  ['an extension line', `vaultterm/t/1\n1\n${root}\nextension\n`],
  ['a size with a leading zero', `vaultterm/t/1\n01\n${root}\n`],
  ['a short root', `vaultterm/t/1\n1\n${root.slice(4)}\n`],
  ['no newline at the end', `vaultterm/t/1\n1\n${root}`],
  ['a login', Buffer.concat([Buffer.from([0, 0, 0, 32]), Buffer.alloc(32), Buffer.of(50)])],
])('does not sign %s', async (_, text) => {
  const signer = await vault.checkpointSigner()
  await expect(signer.sign(Buffer.from(text))).rejects.toMatchObject({ code: 'ERR_VAULT_REFUSED' })
})

test('signs nothing while the vault is sealed, and says a public key only where it was checked', async () => {
  const signer = await vault.checkpointSigner()
  await vault.seal()
  const text = Buffer.from(`vaultterm/t/1\n1\n${root}\n`)
  await expect(signer.sign(text)).rejects.toMatchObject({ code: 'ERR_VAULT_SEALED' })
  expect((await vault.checkpointSigner()).verifierKey).toBe(signer.verifierKey)
  const other = await fixture.another()
  await expect(other.checkpointSigner()).rejects.toMatchObject({ code: 'ERR_VAULT_SEALED' })
  await vault.unseal()
  expect((await other.checkpointSigner()).verifierKey).toBe(signer.verifierKey)
  expect((await signer.sign(text)).length).toBe(64)
})
