import { CodedError } from '../errors.ts'

/** No certificate can be issued for this request; the message says why. */
export class CertificateRefused extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_CERT_INVALID'
}

/** The serials of an authority are used up, which only somebody at the database can do. */
export class SerialsUsedUp extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_CERT_SERIALS'

  constructor(authority: string, remedy: string) {
    super(
      `the ${authority} has no serial left: somebody used them up in the database. ` +
        `Find out who can write to it; then ${remedy}`,
    )
  }
}

/** The request has no subject that can be revoked; the message says why. */
export class RevocationInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_CERT_REVOCATION'
}

/**
 * VAULTTERM_EGRESS cannot be parsed: with a wrong value, certificates would not be valid from any
 * address.
 */
export class EgressInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_CONFIG_INVALID'

  constructor(egress: string) {
    super(`VAULTTERM_EGRESS is not a list of addresses and CIDR blocks: ${JSON.stringify(egress)}`)
  }
}
