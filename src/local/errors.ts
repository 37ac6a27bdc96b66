import { CodedError } from '../errors.ts'

/** The embedded Postgres cannot be made or started. Its last log lines are in the message. */
export class PostgresServerFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_LOCAL_POSTGRES'

  constructor(why: string, details: readonly string[] = [], cause?: unknown) {
    super(`the embedded Postgres ${[why, ...details].join('\n  ')}`, { cause })
  }
}

/** Another process holds the home. */
export class HomeInUse extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_HOME_IN_USE'

  /** `isElsewhere`: the holder's id is one of another PID namespace. */
  constructor(
    path: string,
    holder:
      | { readonly pid: number; readonly what: string; readonly isElsewhere?: boolean }
      | undefined,
  ) {
    const where = holder?.isElsewhere ? ' of another container or PID namespace' : ''
    const who =
      holder === undefined ? 'another process' : `${holder.what}, process ${holder.pid}${where},`
    super(`${who} is using ${path}: stop it first, or set VAULTTERM_HOME to another directory`)
  }
}

/** The home cannot keep secrets: this process cannot use it, or another user can change it. */
export class HomeUnusable extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_HOME_UNUSABLE'

  constructor(path: string, why: string, cause?: unknown) {
    super(`VAULTTERM_HOME cannot be used: ${path} ${why}`, { cause })
  }
}

/** Another user can change a file or directory that this process would trust. */
export class FileUntrusted extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_FILE_UNTRUSTED'
  readonly path: string
  readonly why: string

  constructor(path: string, why: string) {
    super(`${path} ${why}`)
    this.path = path
    this.why = why
  }
}

/** The directory holds no installation. */
export class HomeMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_HOME_MISSING'

  constructor(path: string) {
    super(
      `${path} holds no VaultTerm installation: make one with \`vaultterm up\`, set VAULTTERM_HOME ` +
        'to the directory of an existing one, or set DATABASE_URL',
    )
  }
}

/** A host key in the home exists and is invalid. A new one in its place would look like an attack to clients. */
export class HostKeyUnusable extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_HOST_KEY_UNUSABLE'

  constructor(path: string, why: string, cause?: unknown) {
    super(`the host key ${path} ${why}`, { cause })
  }
}
