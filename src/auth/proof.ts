import {
  type AuthAttempt,
  type Certificate,
  certifiedSignatureAlgorithm,
  fingerprint,
  parseCertificate,
  parseUserauthRequest,
  type SecurityKeyStatement,
  verifySecurityKeySignature,
  verifyUserSignature,
  WireError,
} from '../ssh/index.ts'

/** The facts that a signed login request proves, before the key is looked up in the database. */
export interface Proof {
  /** The key that signed, as on the wire: of a certificate, the one that it was made for. */
  readonly key: Buffer
  readonly fingerprint: string
  /** It is well formed, and the sender has its key. Its other fields are not checked yet. */
  readonly certificate: Certificate | undefined
  /** Of a security key only. */
  readonly statement: SecurityKeyStatement | undefined
}

/** Undefined when the shown key did not sign the request, or when it is no login request. */
export function prove(attempt: AuthAttempt): Proof | undefined {
  const plain = certifiedSignatureAlgorithm(attempt.algorithm)
  const certificate = plain === undefined ? undefined : certificateIn(attempt.key)
  // A certificate under the name of a plain algorithm is not a key, and fails below.
  const key = certificate?.publicKey ?? attempt.key
  const signature = {
    key,
    algorithm: plain ?? attempt.algorithm,
    signature: attempt.signature,
    data: attempt.signedData,
  }
  const statement = verifySecurityKeySignature(signature)
  // A certificate may allow a security key without a touch. That is checked later.
  const isSigned = statement !== undefined || verifyUserSignature(signature)
  if (!isSigned || !isRequestOf(attempt)) return undefined
  if (plain !== undefined && certificate === undefined) return undefined
  return { key, fingerprint: fingerprint(key), certificate, statement }
}

function certificateIn(blob: Buffer): Certificate | undefined {
  const parsed = parseCertificate(blob)
  return 'certificate' in parsed ? parsed.certificate : undefined
}

/** A signature by the same key over other data, a commit or a file, is no login. */
function isRequestOf({ user, algorithm, key, signedData }: AuthAttempt): boolean {
  try {
    const request = parseUserauthRequest(signedData)
    return request.user === user && request.algorithm === algorithm && request.key.equals(key)
  } catch (err) {
    if (err instanceof WireError) return false
    throw err
  }
}
