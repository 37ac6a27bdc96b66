import { connect } from 'node:net'
import ssh2 from 'ssh2'
import { hostKeyTypeNames } from '../host-key-offer.ts'
import { type PublicKey, parsePublicKeyBlob } from '../public-key.ts'
import { clientAlgorithms } from './algorithms.ts'
import { UpstreamClosed } from './errors.ts'
import { assertPatched } from './library.ts'

/**
 * Asks a server for its host keys: one connection for each type of key, all at once. Throws
 * ERR_UPSTREAM_CLOSED when it shows none. The answer is not proved: compare the fingerprints by
 * another way.
 */
export async function scanHostKeys(
  host: string,
  port: number,
  timeoutMs: number,
): Promise<readonly PublicKey[]> {
  assertPatched()
  const scans = await Promise.allSettled(
    hostKeyTypeNames.map((type) => scan(host, port, type, timeoutMs)),
  )
  const keys = scans.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  if (keys.length > 0) return keys
  throw new UpstreamClosed(scans.find((one) => one.status === 'rejected')?.reason)
}

function scan(host: string, port: number, type: string, timeoutMs: number): Promise<PublicKey> {
  const { promise, resolve, reject } = Promise.withResolvers<PublicKey>()
  const socket = connect({ host, port, noDelay: true })
  const client = new ssh2.Client()
  const timer = setTimeout(() => socket.destroy(new Error('timed out')), timeoutMs)
  // Both before and after ssh2 listens; the first reason counts.
  socket.on('error', reject)
  socket.once('close', () => {
    clearTimeout(timer)
    reject(new UpstreamClosed())
  })
  client.on('error', reject)
  socket.once('connect', () => {
    client.connect({
      sock: socket,
      username: 'nobody',
      ident: 'VaultTerm',
      algorithms: clientAlgorithms([type]),
      readyTimeout: 0,
      keepaliveInterval: 0,
      // Only its host key is wanted, so the answer is always no.
      hostVerifier: (blob) => {
        const parsed = parsePublicKeyBlob(Buffer.from(blob))
        if ('key' in parsed) resolve(parsed.key)
        else reject(new Error(parsed.problem))
        socket.destroy()
      },
      authHandler: (_methodsLeft, _partialSuccess, next) => next(false),
    })
  })
  return promise
}
