import { createHash, randomBytes } from 'node:crypto'
import {
  type AuthAttempt,
  cookieBytes,
  encodeUserauthRequest,
  Writer,
} from '../../src/ssh/index.ts'

/** The key of a client. */
export interface LoginKey {
  readonly blob: Buffer
  readonly algorithm: string
  /** The whole signature as on the wire. */
  sign(data: Buffer): Buffer
}

/** A login in a key exchange in which the server sent this cookie. */
export function boundLogin(cookie: Buffer, key: LoginKey, user: string): AuthAttempt {
  const ident = Buffer.from('SSH-2.0-test')
  const input = new Writer()
    .string(ident)
    .string(ident)
    .string(Buffer.concat([Buffer.of(20), randomBytes(cookieBytes)]))
    .string(Buffer.concat([Buffer.of(20), cookie]))
    .string(randomBytes(32))
    .build()
  const exchangeHash = createHash('sha256').update(input).digest()
  const { algorithm, blob } = key
  const signedData = encodeUserauthRequest({ exchangeHash, user, algorithm, key: blob })
  return {
    user,
    algorithm,
    key: blob,
    signature: key.sign(signedData),
    signedData,
    exchange: { hash: 'sha256', input },
  }
}
