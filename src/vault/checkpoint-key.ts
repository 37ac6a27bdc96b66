import {
  type CheckpointSigner,
  formatCheckpoint,
  formatVerifierKey,
  NoteInvalid,
  parseCheckpoint,
  verifierKey,
} from '../audit/index.ts'
import { type Database, systemTenant } from '../postgres/index.ts'
import { KeyMissing, VaultRefused } from './errors.ts'
import { ed25519Bytes, generateEd25519KeyPair, signEd25519 } from './key-pair.ts'
import type { VaultMetrics } from './metrics.ts'
import { findNewestSecret } from './queries.ts'
import type { SecretStore, SecretWish } from './secrets.ts'

const name = 'vaultterm/checkpoints'

const wish: SecretWish = {
  name: 'checkpoint',
  algorithm: 'ed25519',
  path: 'audit/checkpoint',
  rotationPolicy: 'never',
  generate: async () => {
    const { privateKey, publicKey } = await generateEd25519KeyPair()
    const key = verifierKey(name, ed25519Bytes(publicKey))
    const fingerprint = key.keyId.toString('hex')
    return { privateKey, publicKey: formatVerifierKey(key), fingerprint }
  },
}

/**
 * Signs checkpoints of the audit log with the platform's Ed25519 key, which is sealed like any
 * other secret. Made on first use, which needs the vault unsealed; later only signing does.
 */
export async function openCheckpointSigner(
  database: Database,
  secrets: SecretStore,
  metrics: VaultMetrics,
): Promise<CheckpointSigner> {
  const find = () => database.read(systemTenant, (tx) => findNewestSecret(tx, wish.path))
  if ((await find()) === undefined) await secrets.create(systemTenant, [wish])
  const known = await find()
  if (known === undefined) throw new KeyMissing(wish.name)
  return {
    name,
    verifierKey: known.publicKey,
    sign: async (text) => {
      if (!isCheckpoint(text)) {
        metrics.refusals.inc({ reason: 'not-a-checkpoint' })
        throw new VaultRefused('not-a-checkpoint')
      }
      const row = await secrets.read(systemTenant, (tx) => findNewestSecret(tx, wish.path))
      if (row === undefined) throw new KeyMissing(wish.name)
      const place = { tenant: systemTenant, path: wish.path, version: row.version }
      const { bare: signature } = await secrets.use(place, row, (key) => signEd25519(key, text))
      metrics.signatures.inc({ purpose: 'checkpoint' })
      return signature
    },
  }
}

/** Origin, size and root hash, in the one form there is. Nothing else is signed with this key. */
export function isCheckpoint(text: Buffer): boolean {
  try {
    return Buffer.from(formatCheckpoint(parseCheckpoint(text.toString()))).equals(text)
  } catch (err) {
    if (err instanceof NoteInvalid) return false
    throw err
  }
}
