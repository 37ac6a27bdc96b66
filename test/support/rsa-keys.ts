import crypto, { type RSAKeyPairOptions } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'

/**
 * A pair of RSA-4096 keys for each tenant is most of the time of tests that make tenants. A run makes some
 * once, and each test file gets them one after the other, in place of new ones. They are real; only the
 * search for primes is spared. Programs that tests start make their own.
 */
const kept = 16
const bits = 4096

interface DerPair {
  readonly spki: string
  readonly der: string
}

type Done = (err: Error | null, spki: Buffer, der: Buffer) => void

/** Makes the keys of a run, in the background of it. */
export async function makeRsaKeys(directory: string): Promise<void> {
  await mkdir(directory, { mode: 0o700 })
  const generate = promisify(crypto.generateKeyPair)
  await Promise.all(
    Array.from({ length: kept }, async (_, index) => {
      const { publicKey, privateKey } = await generate('rsa', {
        modulusLength: bits,
        publicKeyEncoding: { type: 'spki', format: 'der' },
        privateKeyEncoding: { type: 'pkcs8', format: 'der' },
      })
      const pair: DerPair = { spki: publicKey.toString('hex'), der: privateKey.toString('hex') }
      const path = join(directory, String(index))
      await writeFile(`${path}.new`, JSON.stringify(pair), { mode: 0o600 })
      await rename(`${path}.new`, path)
    }),
  )
}

/** Lets this process take the keys of the run. */
export function useRsaKeys(directory: string): void {
  const generate = crypto.generateKeyPair
  let given = 0
  const take = (type: 'rsa', options: RSAKeyPairOptions<'der', 'der'>, done: Done) => {
    const isOurs = type === 'rsa' && options.modulusLength === bits
    if (!isOurs || options.privateKeyEncoding?.format !== 'der')
      return generate(type, options, done)
    const path = join(directory, String(given++ % kept))
    readFile(path, 'utf8').then(
      (text) => {
        const { spki, der }: DerPair = JSON.parse(text)
        done(null, Buffer.from(spki, 'hex'), Buffer.from(der, 'hex'))
      },
      // The run has only just begun.
      () => generate(type, options, done),
    )
  }
  crypto.generateKeyPair = Object.assign(take, {
    __promisify__: generate.__promisify__,
  }) as typeof generate
  syncBuiltinESMExports()
}
