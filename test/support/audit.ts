import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { expect } from 'vitest'
import { type CheckpointSigner, formatVerifierKey, verifierKey } from '../../src/audit/index.ts'
import { appendLeaf, emptyTree, rootHash } from '../../src/audit/merkle.ts'
import { listLeafBytes, readTree } from '../../src/audit/queries.ts'
import type { Database, TenantId } from '../../src/postgres/index.ts'

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
