import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import {
  formatOpenSshPrivateKey,
  parseCertificate,
  parsePublicKeyBlob,
  publicKeyBlob,
  type ServerHostKey,
} from '../ssh/index.ts'
import { FileUntrusted, HostKeyUnusable } from './errors.ts'
import { keepPrivateDirectory, readIfThere, writePrivateFile } from './private-file.ts'
import { resolveTrusted } from './trusted-path.ts'

/** Every client that can exchange keys with us accepts this type. */
const usual = 'ssh_host_ed25519_key'
/** Other types, for operators with old clients: used where they exist, and never made. */
const others: readonly string[] = ['ssh_host_rsa_key', 'ssh_host_ecdsa_key']

/**
 * The host keys in a directory; an Ed25519 key is made if there is none. An existing key is never
 * replaced.
 *
 * A certificate of the operator's own authority lies beside its key, as `NAME-cert.pub`. Throws
 * HostKeyUnusable for a key or certificate that is invalid, or that another user can change or read.
 */
export async function keepHostKeys(directory: string): Promise<readonly ServerHostKey[]> {
  // An existing directory may be a mount that root owns.
  if ((await resolveTrusted(directory)) === undefined) await keepPrivateDirectory(directory)
  const path = join(directory, usual)
  const first = (await readPair(path)) ?? (await makePair(path))
  const more = await Promise.all(others.map((file) => readPair(join(directory, file))))
  return [first, ...more.filter((pair) => pair !== undefined)]
}

/** The same pair with the certificate beside it, if there is one. */
async function certified(pair: ServerHostKey, keyPath: string): Promise<ServerHostKey> {
  const path = `${keyPath}-cert.pub`
  const text = await readKeyFile(path, { public: true })
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
  const text = await readKeyFile(path)
  return text === undefined ? undefined : certified(pairOf(path, text), path)
}

async function readKeyFile(path: string, options = {}): Promise<string | undefined> {
  try {
    return await readIfThere(path, options)
  } catch (err) {
    if (err instanceof FileUntrusted) throw new HostKeyUnusable(err.path, err.why, err)
    throw err
  }
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
