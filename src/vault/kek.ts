import { randomFillSync } from 'node:crypto'
import { constants, open } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { base64Length, readBase64, writeBase64 } from './base64.ts'
import { secretBuffer } from './cobblestone.ts'
import {
  type EnvelopeKey,
  envelopeKey,
  openEnvelope,
  type Place,
  sealEnvelope,
  wipeKey,
} from './envelope.ts'
import { KekUnreadable, VaultSealed } from './errors.ts'

/**
 * The operator's key-encryption key, behind the provider that keeps it.
 *
 * A provider wraps 32-byte keys and binds each to its place: unwrap() gives undefined for anything
 * that this key did not wrap for that place, and throws only when the provider cannot be used.
 * Calls may come concurrently. The key itself never leaves the provider.
 */
export interface Kek {
  /** `provider:name`. The name is made from the key, not from its path, and holds no secret. */
  readonly id: string
  readonly provider: string
  /** Reads the key again from its provider; the id may change with it. */
  load(): Promise<void>
  /** Wipes the key from this process. Until the next load(), wrap and unwrap throw VaultSealed. */
  forget(): void
  wrap(key: Uint8Array, place: Place): Promise<Buffer>
  unwrap(envelope: Uint8Array, place: Place): Promise<Buffer | undefined>
}

/** Opens the key that a setting names: `file:PATH`. */
export async function openKek(setting: string): Promise<Kek> {
  const [, path] = /^file:(.+)$/s.exec(setting) ?? []
  if (path === undefined) throw new KekUnreadable('VAULTTERM_KEK must be file:PATH')
  const kek = new FileKek(resolve(path))
  await kek.load()
  return kek
}

/**
 * Makes a new key in a file that only its owner can read: 32 random bytes as one line of base64.
 * Durable once this returns. Never overwrites: without the old key the vault's rows are noise.
 */
export async function createKekFile(path: string): Promise<void> {
  const bytes = randomFillSync(secretBuffer(32))
  const text = secretBuffer(base64Length(bytes.length) + 1)
  text[writeBase64(bytes, text, 0)] = 0x0a
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    const directory = await open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  } finally {
    bytes.fill(0)
    text.fill(0)
  }
}

class FileKek implements Kek {
  readonly provider = 'file'
  readonly #path: string
  #id = 'file:'
  #key: EnvelopeKey | undefined

  constructor(path: string) {
    this.#path = path
  }

  get id(): string {
    return this.#id
  }

  async load(): Promise<void> {
    const key = envelopeKey(await readKeyFile(this.#path), 1)
    this.forget()
    this.#key = key
    this.#id = `file:${key.id.toString('hex')}`
  }

  forget(): void {
    if (this.#key !== undefined) wipeKey(this.#key)
    this.#key = undefined
  }

  async wrap(key: Uint8Array, place: Place): Promise<Buffer> {
    return sealEnvelope(this.#held(), place, key)
  }

  async unwrap(envelope: Uint8Array, place: Place): Promise<Buffer | undefined> {
    return openEnvelope(this.#held(), place, envelope)
  }

  #held(): EnvelopeKey {
    if (this.#key === undefined) throw new VaultSealed()
    return this.#key
  }
}

const keyFileBytesMax = 128

async function readKeyFile(path: string): Promise<Buffer> {
  const text = secretBuffer(keyFileBytesMax)
  try {
    const length = await readGuarded(path, text)
    return decodeKey(path, text.subarray(0, length))
  } finally {
    text.fill(0)
  }
}

/** Reads the file into a buffer once its owner and mode, as of the opened file, are right. */
async function readGuarded(path: string, into: Buffer): Promise<number> {
  // Without O_NONBLOCK a pipe under that name would hold up the start for ever.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK
  const file = await open(path, flags).catch((err: NodeJS.ErrnoException) => {
    const hint = err.code === 'ENOENT' ? ': make one with `openssl rand -base64 32`' : ''
    throw new KekUnreadable(`${path}: ${err.code}${hint}`, err)
  })
  try {
    const stat = await file.stat()
    if (!stat.isFile()) throw new KekUnreadable(`${path} is not a file`)
    if (stat.uid !== process.geteuid?.()) {
      throw new KekUnreadable(
        `${path} belongs to another user (user ${stat.uid}): run this as that user, or set VAULTTERM_KEK to a key of your own`,
      )
    }
    if ((stat.mode & 0o077) !== 0) {
      throw new KekUnreadable(
        `${path} can be read by others (mode ${(stat.mode & 0o777).toString(8)}): chmod 600 it, and if others ` +
          'may have read it, make a new key',
      )
    }
    if (stat.size > into.length) throw new KekUnreadable(`${path} is too long to be a key`)
    const { bytesRead } = await file.read(into, 0, into.length, 0)
    return bytesRead
  } finally {
    await file.close()
  }
}

/** One line of base64. Raw bytes are refused, because 32 of them could also be a password. */
function decodeKey(path: string, text: Buffer): Buffer {
  const key = secretBuffer(32)
  if (readBase64(withoutLineEnd(text), key)) return key
  throw new KekUnreadable(
    `${path} does not hold one line of base64 of 32 bytes, as \`openssl rand -base64 32\` makes`,
  )
}

function withoutLineEnd(text: Buffer): Buffer {
  const newline = text.at(-1) === 0x0a ? 1 : 0
  const carriage = newline === 1 && text.at(-2) === 0x0d ? 1 : 0
  return text.subarray(0, text.length - newline - carriage)
}
