import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Registry } from 'prom-client'
import { afterAll } from 'vitest'
import { type Ca, createCa } from '../../src/ca/index.ts'
import type { Database } from '../../src/postgres/index.ts'
import { createKekFile, createVault, openKek, type Vault } from '../../src/vault/index.ts'
import { silent } from './postgres.ts'

/** A vault with a key of its own, and the CA over it; closed after the file. */
export async function openTestVault(database: Database): Promise<{ vault: Vault; ca: Ca }> {
  const directory = mkdtempSync(join(tmpdir(), 'vaultterm-test-vault-'))
  const path = join(directory, 'kek')
  await createKekFile(path)
  const kek = await openKek(`file:${path}`)
  const vault = createVault({ database, kek, log: silent, metrics: new Registry() })
  afterAll(async () => {
    await vault.close()
    rmSync(directory, { recursive: true })
  })
  const ca = createCa({ database, vault, egress: undefined, metrics: new Registry() })
  return { vault, ca }
}
