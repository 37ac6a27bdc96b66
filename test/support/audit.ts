import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { expect } from 'vitest'
import { type CheckpointSigner, formatVerifierKey, verifierKey } from '../../src/audit/index.ts'
import { appendLeaf, emptyTree, rootHash } from '../../src/audit/merkle.ts'
import { listLeafBytes, readTree } from '../../src/audit/queries.ts'
import type { Database, TenantId } from '../../src/postgres/index.ts'
import type { TestDatabase } from './postgres.ts'

/** Recomputes a tenant's whole tree from its leaves and compares it with the stored one. */
export async function checkLog(database: Database, tenant: TenantId, size: number): Promise<void> {
  const [leaves, stored] = await database.read(
    tenant,
    async (tx) => [await listLeafBytes(tx, 0, size + 1), await readTree(tx)] as const,
    { snapshot: true },
  )
  expect(leaves.map(({ index }) => index)).toEqual(Array.from({ length: size }, (_, i) => i))
  const recomputed = leaves.map(({ leaf }) => leaf).reduce(appendLeaf, emptyTree)
  expect(stored.size).toBe(size)
  expect(rootHash(stored)).toEqual(rootHash(recomputed))
}

/** A checkpoint key in memory, where a test has no vault. */
export function createTestSigner(): CheckpointSigner & { readonly privateKey: KeyObject } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  const name = 'vaultterm/test'
  return {
    name,
    privateKey,
    verifierKey: formatVerifierKey(verifierKey(name, raw)),
    sign: async (text) => sign(null, text, privateKey),
  }
}

/** A statement about a tenant's log by a superuser, whom no trigger stops: TENANT stands for its id. */
export async function tamper(
  database: Pick<TestDatabase, 'superuser'>,
  tenant: TenantId,
  statement: string,
): Promise<void> {
  await database.superuser(
    `set session_replication_role = replica; ${statement.replaceAll('TENANT', `'${tenant}'`)}`,
  )
}

/** All rows of a log, for `tamper`. */
export const deleteLog = `
  delete from audit_private where tenant_id = TENANT;
  delete from audit_leaf where tenant_id = TENANT;
  delete from audit_checkpoint where tenant_id = TENANT;
  delete from audit_unsigned where tenant_id = TENANT;
  delete from audit_tree where tenant_id = TENANT`
