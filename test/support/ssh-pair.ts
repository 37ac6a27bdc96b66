import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { pino } from 'pino'
import {
  type Connection,
  connectUpstream,
  createSshServer,
  generateHostKey,
  publicKeyBlob,
  type ServerHostKey,
  type SigningKey,
  type UpstreamOptions,
  verifyUserSignature,
  Writer,
} from '../../src/ssh/index.ts'

export const silent = pino({ level: 'silent' })

const hashes: Readonly<Record<string, string>> = {
  'rsa-sha2-256': 'sha256',
  'rsa-sha2-512': 'sha512',
  'ecdsa-sha2-nistp256': 'sha256',
  'ecdsa-sha2-nistp384': 'sha384',
  'ecdsa-sha2-nistp521': 'sha512',
}

/** Signs as a vault would: the client gets nothing but signatures. */
export function signingKey(
  privateKey: KeyObject = generateKeyPairSync('ed25519').privateKey,
  certificate?: Buffer,
): SigningKey {
  return {
    publicKey: publicKeyBlob(privateKey),
    ...(certificate && { certificate }),
    async sign(data, algorithm) {
      const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const
      const bare = sign(hashes[algorithm] ?? null, data, key)
      const half = bare.length / 2
      const signature = algorithm.startsWith('ecdsa-')
        ? new Writer().mpint(bare.subarray(0, half)).mpint(bare.subarray(half)).build()
        : bare
      return new Writer().text(algorithm).string(signature).build()
    },
  }
}

/** Our server on one end of a wire: it lets in everybody who signs. Gives its connection. */
export function serveOn(
  wire: Duplex,
  hostKeys: readonly ServerHostKey[] = [generateHostKey()],
): Promise<Connection> {
  const { promise, resolve } = Promise.withResolvers<Connection>()
  const server = createSshServer({
    hostKeys,
    ident: 'VaultTerm',
    loginGraceMs: 60_000,
    authTriesMax: 6,
    channelsMax: 8,
    log: silent,
  })
  server.serve(wire, {
    authenticate: async ({ key, algorithm, signature, signedData }) =>
      verifyUserSignature({ key, algorithm, signature, data: signedData }),
    ready: resolve,
  })
  return promise
}

/** Our client on the other end: it takes every host key, unless told otherwise. */
export function connectOn(
  socket: Duplex,
  options: Partial<UpstreamOptions> = {},
): Promise<Connection> {
  return connectUpstream({
    socket,
    user: 'somebody',
    hostKeyTypes: ['ssh-ed25519'],
    verifyHostKey: async () => true,
    key: signingKey(),
    handshakeMs: 60_000,
    log: silent,
    ...options,
  })
}
