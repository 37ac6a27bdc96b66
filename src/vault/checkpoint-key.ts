import {
  type CheckpointSigner,
  formatCheckpoint,
  formatVerifierKey,
  NoteInvalid,
  parseCheckpoint,
  parseVerifierKey,
  verifierKey,
} from '../audit/index.ts'
import { systemTenant } from '../postgres/index.ts'
import { KeyMissing, SecretDamaged, VaultRefused } from './errors.ts'
import {
  bareEd25519,
  ed25519BlobOf,
  ed25519Bytes,
  generateEd25519KeyPair,
  signEd25519,
} from './key-pair.ts'
import type { VaultMetrics } from './metrics.ts'
import type { SecretSpec, SecretStore } from './secrets.ts'

const name = 'vaultterm/checkpoints'

const spec: SecretSpec = {
  name: 'checkpoint',
  algorithm: 'ed25519',
  path: 'audit/checkpoint',
  rotationPolicy: 'never',
  generate: generateEd25519KeyPair,
  parse: (line) => {
    try {
      return ed25519BlobOf(parseVerifierKey(line).publicKey)
    } catch (err) {
      if (err instanceof NoteInvalid) return undefined
      throw err
    }
  },
  describe: (blob) => {
    const key = verifierKey(name, ed25519Bytes(blob))
    return { publicKey: formatVerifierKey(key), fingerprint: key.keyId.toString('hex') }
  },
}

/**
 * Signs checkpoints of the audit log with the platform's Ed25519 key, which is sealed like any
 * other secret. It is made on first use. The vault must be unsealed for this: the verifier key is
 * checked before it is used. Throws RecordChanged.
 */
export async function openCheckpointSigner(
  secrets: SecretStore,
  metrics: VaultMetrics,
): Promise<CheckpointSigner> {
  const find = () => secrets.find(systemTenant, spec.path)
  if ((await find()) === undefined) await secrets.create(systemTenant, [spec])
  const row = await find()
  if (row === undefined) throw new KeyMissing(spec.name)
  await secrets.requirePublicKey(systemTenant, spec, row)
  const publicBlob = ed25519BlobOf(parseVerifierKey(row.publicKey).publicKey)
  return {
    name,
    verifierKey: row.publicKey,
    sign: async (text) => {
      if (!isCheckpoint(text)) {
        metrics.refusals.inc({ reason: 'not-a-checkpoint' })
        throw new VaultRefused('not-a-checkpoint')
      }
      const newest = await find()
      if (newest === undefined) throw new KeyMissing(spec.name)
      const place = { tenant: systemTenant, path: spec.path, version: newest.version }
      const signature = await secrets.use(place, newest, (key) =>
        signEd25519(key, publicBlob, text),
      )
      if (signature === undefined) throw new SecretDamaged(spec.path)
      metrics.signatures.inc({ purpose: 'checkpoint' })
      return bareEd25519(signature)
    },
  }
}

/**
 * Whether the text is origin, size and root hash in canonical form. The key signs only such texts.
 */
function isCheckpoint(text: Buffer): boolean {
  try {
    return Buffer.from(formatCheckpoint(parseCheckpoint(text.toString()))).equals(text)
  } catch (err) {
    if (err instanceof NoteInvalid) return false
    throw err
  }
}
