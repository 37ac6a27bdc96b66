import type { Algorithms } from 'ssh2'
import { certificateType } from './certified.ts'

const ciphers = [
  'aes128-gcm@openssh.com',
  'aes256-gcm@openssh.com',
  'chacha20-poly1305@openssh.com',
  'aes128-ctr',
  'aes256-ctr',
]

const macs = ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-512-etm@openssh.com']

const exchanges = ['mlkem768x25519-sha256', 'curve25519-sha256', 'curve25519-sha256@libssh.org']

/**
 * The algorithms of our server, best first, for every client of the last ten years: no SHA-1, no
 * NIST curves, no MAC of unencrypted data, no finite-field groups that cost milliseconds of every
 * user's time, and no compression, because its bombs would come before the login.
 */
export function serverAlgorithms(hostKeyAlgorithms: readonly string[]): Algorithms {
  return {
    kex: exchanges,
    serverHostKey: hostKeyAlgorithms,
    cipher: ciphers,
    hmac: macs,
    compress: ['none'],
  }
}

/** The algorithms that we offer to a target: the same first, then those that older servers need. */
export function clientAlgorithms(hostKeyTypes: readonly string[]): Algorithms {
  return {
    kex: [
      ...exchanges,
      'ecdh-sha2-nistp256',
      'ecdh-sha2-nistp384',
      'ecdh-sha2-nistp521',
      'diffie-hellman-group16-sha512',
      'diffie-hellman-group14-sha256',
    ],
    serverHostKey: hostKeyTypes.flatMap(hostKeyAlgorithms),
    cipher: ciphers,
    hmac: [...macs, 'hmac-sha2-256', 'hmac-sha2-512'],
    compress: ['none'],
  }
}

/**
 * The algorithms of a host key's type, or of a certificate's: RFC 8332 for RSA, where SHA-1 is never
 * taken.
 */
export function hostKeyAlgorithms(type: string): readonly string[] {
  if (type === 'ssh-rsa') return ['rsa-sha2-512', 'rsa-sha2-256']
  if (type === certificateType('ssh-rsa')) return hostKeyAlgorithms('ssh-rsa').map(certificateType)
  return [type]
}
