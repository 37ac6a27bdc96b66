import { CodedError } from '../errors.ts'

export class TenantNameInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_TENANT_NAME'

  constructor(name: string) {
    super(
      `${JSON.stringify(name.slice(0, 64))} is not a valid tenant name: use 1 to 32 characters of a-z, 0-9 and -, without - at the start; tenant-XXXXXXXX is reserved for ids`,
    )
  }
}

export class TenantExists extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_TENANT_EXISTS'

  constructor(slug: string) {
    super(`the tenant ${slug} already exists`)
  }
}

export class TenantMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_TENANT_MISSING'

  constructor(name: string) {
    super(
      `there is no tenant ${JSON.stringify(name.slice(0, 64))}: \`vaultterm tenant list\` lists all tenants`,
    )
  }
}
