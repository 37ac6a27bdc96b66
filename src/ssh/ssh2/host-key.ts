import { generateKeyPairSync } from 'node:crypto'
import { formatOpenSshPrivateKey } from '../private-key.ts'
import { type PublicKey, parsePublicKeyBlob, publicKeyBlob } from '../public-key.ts'

/** What our server proves itself with. The text is a secret: it belongs in a file of mode 600. */
export interface ServerHostKey {
  /** Ed25519, in OpenSSH's form. */
  readonly privateKey: string
  readonly publicKey: PublicKey
}

/** A new host key. */
export function generateHostKey(): ServerHostKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const parsed = parsePublicKeyBlob(publicKeyBlob(publicKey))
  if (!('key' in parsed)) throw new Error('a new key is not a key')
  return { privateKey: formatOpenSshPrivateKey(privateKey), publicKey: parsed.key }
}
