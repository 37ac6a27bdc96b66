import { CodedError } from '../errors.ts'

/** What was asked for makes no certificate. */
export class CertificateRefused extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_CERT_INVALID'
}

/** What was given names nothing that could be revoked. */
export class RevocationInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_CERT_REVOCATION'
}

/** A setting says where we come from, and cannot be understood: certificates would be good nowhere. */
export class EgressInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_CONFIG_INVALID'

  constructor(egress: string) {
    super(`VAULTTERM_EGRESS is not a list of addresses and CIDR blocks: ${JSON.stringify(egress)}`)
  }
}
