import { matchesAddressList } from './address-list.ts'
import type { Certificate, CertificateKind } from './certificate.ts'
import { findCertifiedKeyType } from './key-types.ts'
import { isRevoked, type KeyRevocationList } from './revocation-list.ts'
import { verifyUserSignature } from './signature.ts'
import { Reader } from './wire.ts'

/** A critical option that a certificate may have here, given that its user keeps to it. */
export type CriticalOption = 'force-command' | 'source-address' | 'verify-required'

/** The intended use of a certificate. */
export interface CertificateUse {
  /** The CA keys that are believed, as on the wire: no other key, and none by its fingerprint. */
  readonly authorities: readonly Buffer[]
  readonly kind: CertificateKind
  /** The one name that must be among its principals, octet for octet. */
  readonly principal: string
  readonly now: Date
  /** Where the presenter connects from. */
  readonly sourceAddress?: string
  readonly revocations?: KeyRevocationList
  /** The critical options that the caller keeps to: any other refuses the certificate. */
  readonly knownOptions: readonly CriticalOption[]
}

/** The restrictions of a login by certificate, whatever else the user proves. */
export interface CertificateRestrictions {
  /** The only command that may run, in place of whatever is asked for. */
  readonly forceCommand?: string
  /** The `permit-…` extensions: other rights are not permitted. */
  readonly extensions: ReadonlySet<string>
  /** The security key must say that it knew its holder. */
  readonly requireUserVerification: boolean
  /** The security key must state that it was touched. False for other keys. */
  readonly requireTouch: boolean
}

export type CheckedCertificate =
  | { readonly restrictions: CertificateRestrictions }
  | { readonly problem: string }

const permissions = [
  'permit-X11-forwarding',
  'permit-agent-forwarding',
  'permit-port-forwarding',
  'permit-pty',
  'permit-user-rc',
]

/**
 * Whether a certificate is good for this use, by everything that can be known from it. The only
 * fact left to prove is that its presenter holds the certified key. No other function decides this.
 *
 * A problem is for the log: strangers get no reason.
 */
export function checkCertificate(
  certificate: Certificate,
  use: CertificateUse,
): CheckedCertificate {
  const problem =
    refuseAuthority(certificate, use.authorities) ??
    refuseContents(certificate, use) ??
    refuseOptions(certificate, use)
  if (problem !== undefined) return { problem }
  if (use.revocations !== undefined && isRevoked(use.revocations, certificate)) {
    return { problem: 'the certificate, its key or its authority is revoked' }
  }
  return { restrictions: restrictionsOf(certificate) }
}

/** No field of a certificate counts until its signature is known to be by a pinned key. */
function refuseAuthority(
  { signatureKey, signature, toBeSigned }: Certificate,
  authorities: readonly Buffer[],
): string | undefined {
  // The bytes, not the key in them: a certificate that holds the CA's key is not the CA.
  if (!authorities.some((authority) => authority.equals(signatureKey))) {
    return 'the certificate is signed by an authority that is not trusted'
  }
  // The algorithm that a signature names is held to the type of the key, so it is no choice.
  const algorithm = new Reader(signature).text()
  const isSigned = verifyUserSignature({
    key: signatureKey,
    algorithm,
    signature,
    data: toBeSigned,
  })
  return isSigned ? undefined : 'the signature of the certificate was not made by its authority'
}

function refuseContents(certificate: Certificate, use: CertificateUse): string | undefined {
  if (certificate.kind !== use.kind) {
    return `the certificate is for a ${certificate.kind}, not for a ${use.kind}`
  }
  const now = BigInt(Math.floor(use.now.getTime() / 1000))
  if (now < certificate.validAfter) return 'the certificate is not valid yet'
  if (now >= certificate.validBefore) return 'the certificate has expired'
  // Older servers took a certificate without principals as one for everybody: CVE-2024-7594.
  if (certificate.principals.length === 0) return 'the certificate has no principals'
  if (!certificate.principals.includes(use.principal)) {
    return 'the certificate is for other principals'
  }
  return undefined
}

function refuseOptions(certificate: Certificate, use: CertificateUse): string | undefined {
  const { criticalOptions, kind } = certificate
  if (kind === 'host' && criticalOptions.size > 0) {
    return 'a host certificate has no critical options'
  }
  const known: readonly string[] = use.knownOptions
  for (const [name, value] of criticalOptions) {
    // A value that the parser did not read belongs to an option that this code cannot enforce.
    if (!known.includes(name) || typeof value !== 'string') {
      return 'the certificate has an unknown critical option'
    }
    if (name === 'source-address' && !isFrom(value, use.sourceAddress)) {
      return 'the certificate is for other source addresses'
    }
    if (name === 'verify-required' && !isOfSecurityKey(certificate)) {
      return 'the certificate has verify-required, but its key is not a security key'
    }
  }
  return undefined
}

function isFrom(list: string, sourceAddress: string | undefined): boolean {
  return sourceAddress !== undefined && matchesAddressList(list, sourceAddress) === true
}

function isOfSecurityKey({ type }: Certificate): boolean {
  return findCertifiedKeyType(type)?.isSecurityKey === true
}

function restrictionsOf(certificate: Certificate): CertificateRestrictions {
  const { criticalOptions, extensions } = certificate
  const forceCommand = criticalOptions.get('force-command')
  return {
    ...(typeof forceCommand === 'string' ? { forceCommand } : {}),
    extensions: new Set(permissions.filter((name) => extensions.has(name))),
    requireUserVerification: criticalOptions.has('verify-required'),
    requireTouch: isOfSecurityKey(certificate) && !extensions.has('no-touch-required'),
  }
}
