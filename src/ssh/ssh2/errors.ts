import { CodedError, type ErrorCode } from '../../errors.ts'

/** The other side broke the connection protocol; the connection ends. */
export class ProtocolBroken extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_SSH_PROTOCOL'
}

/** The connection ended while something was still asked of it. */
export class ConnectionClosed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_SSH_CLOSED'

  constructor(cause?: unknown) {
    super('the SSH connection has ended', { cause })
  }
}

/** RFC 4254 section 5.1. */
const refusals: readonly string[] = [
  'administratively prohibited',
  'connect failed',
  'unknown channel type',
  'resource shortage',
]

/** The other side refuses such a channel. Its text is arbitrary: show it escaped. */
export class ChannelOpenRefused extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_SSH_CHANNEL_REFUSED'
  readonly reason: number
  readonly text: string

  constructor(reason: number, text: string) {
    const name = refusals[reason - 1] ?? `reason ${reason}`
    super(`the channel was refused: ${name}${text === '' ? '' : `, “${text}”`}`)
    this.reason = reason
    this.text = text
  }
}

/** The installed ssh2 does not carry our patches: it has faults that a stranger could use. */
export class LibraryUnpatched extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_SSH2_UNPATCHED'

  constructor() {
    super('the installed ssh2 package does not have our patches; run bin/run to set it up again')
  }
}

/** The target's host key was not accepted: we proved nothing to it. */
export class UpstreamHostKey extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_UPSTREAM_HOST_KEY'

  constructor() {
    super('the host key is not on record')
  }
}

/** The target's proof of its host key is malformed: the vault signed nothing for it. */
export class UpstreamHostProof extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_UPSTREAM_HOST_PROOF'

  constructor() {
    super('the host key signature of the key exchange is malformed')
  }
}

/** The target took no login with our key. */
export class UpstreamAuth extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_UPSTREAM_AUTH'

  constructor(cause?: unknown) {
    super('the key was not accepted', { cause })
  }
}

export class UpstreamTimeout extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_UPSTREAM_TIMEOUT'

  constructor() {
    super('the login took too long')
  }
}

export class UpstreamClosed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_UPSTREAM_CLOSED'

  constructor(cause?: unknown) {
    super('the connection ended before the login was done', { cause })
  }
}

/** The target does not speak SSH, or both sides have no common algorithm. */
export class UpstreamProtocol extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_UPSTREAM_PROTOCOL'

  constructor(cause?: unknown) {
    super('the key exchange failed', { cause })
  }
}

/** A host showed no host key when it was asked for them. */
export class NoHostKeys extends CodedError {
  readonly kind = 'unavailable'
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, cause: unknown) {
    super(message, { cause })
    this.code = code
  }
}
