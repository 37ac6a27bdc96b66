import { execFileSync } from 'node:child_process'
import { type KeyObject, randomUUID } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatPublicKey, parsePublicKey, parsePublicKeyBlob } from '../../src/ssh/index.ts'
import { type PublicKey, publicKeyBlob } from '../../src/ssh/public-key.ts'

export interface CertificateFields {
  readonly isHost?: boolean
  readonly principals?: readonly string[]
  /** As `ssh-keygen -V` takes it. */
  readonly validity?: string
}

/** A certificate authority, and a place for keys: all by ssh-keygen. */
export class Authority {
  readonly directory = mkdtempSync(join(tmpdir(), 'vaultterm-authority-'))
  /** The public key, one line. */
  readonly line: string

  constructor() {
    this.line = formatPublicKey(this.newKey('ed25519').publicKey)
  }

  /** The certificate as the wire has it. */
  sign(key: PublicKey, wish: CertificateFields = {}): Buffer {
    const { isHost = false, principals = [], validity = '-1h:+1h' } = wish
    const name = join(this.directory, randomUUID())
    writeFileSync(`${name}.pub`, `${formatPublicKey(key)}\n`)
    execFileSync('ssh-keygen', [
      ...['-q', '-s', join(this.directory, '0'), '-I', 'test', '-V', validity],
      ...(isHost ? ['-h'] : []),
      ...(principals.length > 0 ? ['-n', principals.join(',')] : []),
      `${name}.pub`,
    ])
    const [, base64 = ''] = readFileSync(`${name}-cert.pub`, 'utf8').split(' ')
    return Buffer.from(base64, 'base64')
  }

  /** A new key pair, the private half in OpenSSH's form; and the file that it is in. */
  newKey(type: string, bits = ''): { privateKey: string; publicKey: PublicKey; file: string } {
    const file = join(this.directory, String(this.#keys++))
    const size = bits === '' ? [] : ['-b', bits]
    execFileSync('ssh-keygen', ['-q', '-t', type, ...size, '-N', '', '-C', '', '-f', file])
    const parsed = parsePublicKey(readFileSync(`${file}.pub`, 'utf8'))
    if ('problem' in parsed) throw new Error(parsed.problem)
    return { privateKey: readFileSync(file, 'utf8'), publicKey: parsed.key, file }
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true })
  }

  #keys = 0
}

/** The public half of a key of node:crypto. */
export function publicKeyOf(key: KeyObject): PublicKey {
  const parsed = parsePublicKeyBlob(publicKeyBlob(key))
  if ('problem' in parsed) throw new Error(parsed.problem)
  return parsed.key
}
