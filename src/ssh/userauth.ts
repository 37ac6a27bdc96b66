import { Reader, WireError, Writer } from './wire.ts'

/** The signed data of a login with a public key: RFC 4252 section 7. */
export interface UserauthRequest {
  /** Of the connection's first key exchange: it ties the signature to this one connection. */
  readonly exchangeHash: Buffer
  readonly user: string
  /** Signature algorithm, as the request outside the signature names it. */
  readonly algorithm: string
  /** The key as on the wire. */
  readonly key: Buffer
  /** The server's host key, in the host-bound form of OpenSSH: PROTOCOL section 3.1. */
  readonly hostKey?: Buffer
}

const SSH_MSG_USERAUTH_REQUEST = 50
const service = 'ssh-connection'
const plainMethod = 'publickey'
const hostBoundMethod = 'publickey-hostbound-v00@openssh.com'

/** SHA-1 to SHA-512. */
const exchangeHashBytesMin = 20
const exchangeHashBytesMax = 64

export function encodeUserauthRequest(request: UserauthRequest): Buffer {
  const { exchangeHash, user, algorithm, key, hostKey } = request
  const writer = new Writer()
    .string(exchangeHash)
    .u8(SSH_MSG_USERAUTH_REQUEST)
    .text(user)
    .text(service)
    .text(hostKey === undefined ? plainMethod : hostBoundMethod)
    .boolean(true)
    .text(algorithm)
    .string(key)
  return (hostKey === undefined ? writer : writer.string(hostKey)).build()
}

/**
 * Reads the output of encodeUserauthRequest, and throws WireError for all other bytes, so that a
 * signer knows every byte that it signs. The buffers are views of the blob.
 */
export function parseUserauthRequest(blob: Buffer): UserauthRequest {
  const reader = new Reader(blob)
  const exchangeHash = reader.string()
  if (exchangeHash.length < exchangeHashBytesMin || exchangeHash.length > exchangeHashBytesMax) {
    throw new WireError('a login request starts with an exchange hash')
  }
  if (reader.u8() !== SSH_MSG_USERAUTH_REQUEST) throw new WireError('this is no login request')
  const user = reader.text()
  if (reader.text() !== service) throw new WireError('a login request is for ssh-connection')
  const method = reader.text()
  if (method !== plainMethod && method !== hostBoundMethod) {
    throw new WireError('a login request to sign has the method publickey')
  }
  if (!reader.boolean()) throw new WireError('this offers a key and is not to be signed')
  const algorithm = reader.text()
  const key = reader.string()
  const hostKey = method === hostBoundMethod ? reader.string() : undefined
  reader.end()
  if (algorithm === '' || key.length === 0 || hostKey?.length === 0) {
    throw new WireError('a login request names an algorithm and a key')
  }
  return { exchangeHash, user, algorithm, key, ...(hostKey === undefined ? {} : { hostKey }) }
}
