import type { TaggedRecord } from '../vault/index.ts'

/** The values of a passkey that a sign-in relies on. */
export interface PasskeyRecord {
  readonly userId: string
  readonly credentialId: Buffer
  /** COSE. */
  readonly publicKey: Buffer
}

/** The fields of a passkey that its tag covers. The counter changes at each use and is not among them. */
export function passkeyRecord({ userId, credentialId, publicKey }: PasskeyRecord): TaggedRecord {
  return {
    kind: 'passkey',
    id: credentialId.toString('base64url'),
    fields: [
      ['user', userId],
      ['publicKey', publicKey.toString('base64')],
    ],
  }
}
