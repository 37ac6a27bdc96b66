import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  formatOpenSshPrivateKey,
  parseCertificate,
  parsePublicKeyBlob,
  publicKeyBlob,
  type ServerHostKey,
} from '../ssh/index.ts'
import { HostKeyUnusable } from './errors.ts'
import { readIfThere, writePrivateFile } from './private-file.ts'

/** Every client that can exchange keys with us knows it. */
const usual = 'ssh_host_ed25519_key'
/** Of other types, for whoever has reason to show them: used where they are, and never made. */
const others: readonly string[] = ['ssh_host_rsa_key', 'ssh_host_ecdsa_key']

/**
 * The host keys in a directory; an Ed25519 key is made where none is. None is ever replaced.
 *
 * A certificate of the operator's own authority stands beside its key, as `NAME-cert.pub`.
 */
export async function keepHostKeys(directory: string): Promise<readonly ServerHostKey[]> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, usual)
  const first = (await readPair(path)) ?? (await makePair(path))
  const more = await Promise.all(others.map((file) => readPair(join(directory, file))))
  return [first, ...more.filter((pair) => pair !== undefined)]
}

/** With the certificate that is beside it, if there is one. */
async function certified(pair: ServerHostKey, keyPath: string): Promise<ServerHostKey> {
  const path = `${keyPath}-cert.pub`
  const text = await readIfThere(path)
  if (text === undefined) return pair
  const certificate = Buffer.from(text.trim().split(/\s+/)[1] ?? '', 'base64')
  const parsed = parseCertificate(certificate)
  if ('problem' in parsed) throw new HostKeyUnusable(path, parsed.problem)
  const { kind, publicKey, validBefore } = parsed.certificate
  if (kind !== 'host') throw new HostKeyUnusable(path, 'is a certificate for users, not for hosts')
  if (!publicKey.equals(pair.publicKey.blob)) {
    throw new HostKeyUnusable(path, 'is a certificate for another key than the one beside it')
  }
  if (validBefore * 1000n <= BigInt(Date.now())) {
    throw new HostKeyUnusable(path, 'has expired: renew it, or remove the file')
  }
  return { ...pair, certificate }
}

async function makePair(path: string): Promise<ServerHostKey> {
  const key = generateKeyPairSync('ed25519').privateKey
  const text = key.export({ format: 'pem', type: 'pkcs8' }).toString()
  await writePrivateFile(path, text)
  return certified(pairOf(path, text), path)
}

async function readPair(path: string): Promise<ServerHostKey | undefined> {
  const text = await readIfThere(path)
  if (text === undefined) return undefined
  const { mode } = await stat(path)
  if ((mode & 0o077) !== 0) {
    throw new HostKeyUnusable(
      path,
      `can be read by others (mode ${(mode & 0o777).toString(8)}): chmod 600 it`,
    )
  }
  return certified(pairOf(path, text), path)
}

function pairOf(path: string, text: string): ServerHostKey {
  try {
    const key = createPrivateKey(text)
    const parsed = parsePublicKeyBlob(publicKeyBlob(key))
    if ('problem' in parsed) throw new TypeError(parsed.problem)
    return { privateKey: formatForSsh(key), publicKey: parsed.key }
  } catch (err) {
    throw new HostKeyUnusable(path, 'does not hold a private key in PKCS#8 form', err)
  }
}

/** The transport reads each type in the form that OpenSSH once gave it. */
function formatForSsh(key: KeyObject): string {
  if (key.asymmetricKeyType === 'ed25519') return formatOpenSshPrivateKey(key)
  const type = key.asymmetricKeyType === 'ec' ? 'sec1' : 'pkcs1'
  return key.export({ format: 'pem', type }).toString()
}
