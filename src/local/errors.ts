import { CodedError } from '../errors.ts'

/** The embedded Postgres could not be made, started or kept. The last lines it said are in the message. */
export class PostgresServerFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_LOCAL_POSTGRES'

  constructor(what: string, details: readonly string[] = [], cause?: unknown) {
    super(`the embedded Postgres ${[what, ...details].join('\n  ')}`, { cause })
  }
}

/** Another process holds the home. */
export class HomeInUse extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_HOME_IN_USE'

  constructor(path: string, holder: { readonly pid: number; readonly what: string } | undefined) {
    const who = holder === undefined ? 'another process' : `${holder.what}, process ${holder.pid},`
    super(`${who} is using ${path}: stop it first, or set VAULTTERM_HOME to another directory`)
  }
}

/** The home cannot hold what must be kept private, or not by us. */
export class HomeUnusable extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_HOME_UNUSABLE'

  constructor(path: string, why: string, cause?: unknown) {
    super(`VAULTTERM_HOME ${path} ${why}`, { cause })
  }
}

/** No installation was ever started there. */
export class HomeMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_HOME_MISSING'

  constructor(path: string) {
    super(
      `there is no VaultTerm in ${path}: start one there with \`vaultterm up\`, set VAULTTERM_HOME ` +
        'to where one is, or set DATABASE_URL',
    )
  }
}

/** A host key in the home is there and cannot serve. Making another would look like an attack. */
export class HostKeyUnusable extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_HOST_KEY_UNUSABLE'

  constructor(path: string, why: string, cause?: unknown) {
    super(`the host key ${path} ${why}`, { cause })
  }
}
