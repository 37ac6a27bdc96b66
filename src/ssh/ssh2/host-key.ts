import { generateKeyPairSync } from 'node:crypto'
import { formatOpenSshPrivateKey } from '../private-key.ts'
import { type PublicKey, parsePublicKeyBlob, publicKeyBlob } from '../public-key.ts'

/** A host key of our server. The text is a secret: it belongs in a file of mode 600. */
export interface ServerHostKey {
  /** In OpenSSH's form. */
  readonly privateKey: string
  readonly publicKey: PublicKey
  /** As on the wire: shown to clients that ask for a certificate; all others get the plain key. */
  readonly certificate?: Buffer
}

/** A new host key: Ed25519. */
export function generateHostKey(): ServerHostKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const parsed = parsePublicKeyBlob(publicKeyBlob(publicKey))
  if (!('key' in parsed)) throw new Error('a generated key cannot be parsed')
  return { privateKey: formatOpenSshPrivateKey(privateKey), publicKey: parsed.key }
}
