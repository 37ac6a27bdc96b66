import { type KeyObject, randomBytes } from 'node:crypto'
import { publicKeyBlob } from './public-key.ts'
import { Writer } from './wire.ts'

const blockBytes = 8

/**
 * An Ed25519 private key in OpenSSH's own form (PROTOCOL.key), not encrypted: for a key file of the
 * user that runs this program. Keys of the vault never use this.
 */
export function formatOpenSshPrivateKey(key: KeyObject, comment = ''): string {
  const { d, x } = key.export({ format: 'jwk' })
  if (key.asymmetricKeyType !== 'ed25519' || typeof d !== 'string' || typeof x !== 'string') {
    throw new TypeError('only an Ed25519 private key has this form here')
  }
  // Twice the same number: a reader with the wrong passphrase would find two.
  const check = randomBytes(4)
  const publicBytes = Buffer.from(x, 'base64url')
  const secret = new Writer()
    .bytes(check)
    .bytes(check)
    .text('ssh-ed25519')
    .string(publicBytes)
    .string(Buffer.concat([Buffer.from(d, 'base64url'), publicBytes]))
    .text(comment)
    .build()
  const padding = (blockBytes - (secret.length % blockBytes)) % blockBytes
  const file = new Writer()
    .bytes(Buffer.from('openssh-key-v1\0'))
    .text('none') // cipher
    .text('none') // key derivation
    .text('') // its options
    .u32(1) // keys
    .string(publicKeyBlob(key))
    .string(Buffer.concat([secret, Buffer.from(Array.from({ length: padding }, (_, i) => i + 1))]))
    .build()
  const lines = file.toString('base64').match(/.{1,70}/g) ?? []
  return [
    '-----BEGIN OPENSSH PRIVATE KEY-----',
    ...lines,
    '-----END OPENSSH PRIVATE KEY-----',
    '',
  ].join('\n')
}
