import { CodedError } from '../errors.ts'

export class TenantNameInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_TENANT_NAME'

  constructor(name: string) {
    super(
      `${JSON.stringify(name.slice(0, 64))} cannot be a tenant's name: use 1 to 32 of a-z, 0-9 and -, with no - at the start, and not tenant-XXXXXXXX, which names an id`,
    )
  }
}

export class TenantExists extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_TENANT_EXISTS'

  constructor(slug: string) {
    super(`there is a tenant ${slug} already`)
  }
}

export class TenantMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_TENANT_MISSING'

  constructor(name: string) {
    super(
      `there is no tenant ${JSON.stringify(name.slice(0, 64))}: \`vaultterm tenant list\` names them all`,
    )
  }
}
