import { CodedError, type ErrorCode } from '../../errors.ts'
import type { Leave } from '../wire/messages.ts'

/** The target could not be reached: its address did not answer. */
export class TargetUnreachable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_TARGET_UNREACHABLE'
}

/** The target answered with another host key than the one on record. */
export class TargetHostKeyChanged extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_TARGET_HOST_KEY'
}

/** The target did not accept the key that the vault holds for it. */
export class TargetRefusedKey extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_TARGET_REFUSED_KEY'
}

/** The target accepted the login and then refused the request. */
export class TargetRefused extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_TARGET_REFUSED'
}

/** The target took too long, or broke the protocol. */
export class TargetFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_TARGET_FAILED'
}

/** The session's recording could no longer be written, so the session ended. */
export class RecorderFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_RECORDER_FAILED'

  constructor(cause: unknown) {
    super(
      'this session ended because its recording could not be written; ask the operator to look at the disk of the recordings',
      { cause },
    )
  }
}

/** The bastion stops or restarts, and its time for live sessions is up. */
export class Draining extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_DRAINING'

  constructor(leave: Leave) {
    super(
      leave === 'restart'
        ? 'the bastion is restarting; connect again in a moment'
        : 'the bastion is stopping; connect again later',
    )
  }
}

/** This node could not renew its lease in time: another one may take its place any moment. */
export class NodeLeaseLapsed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_NODE_LEASE_LAPSED'

  constructor() {
    super('this bastion has lost its database for too long; connect again in a moment')
  }
}

/** The bastion has a new host key, which the worker of this connection does not have. */
export class HostKeysRenewed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_HOST_KEYS_RENEWED'

  constructor() {
    super(
      'the bastion has a new host key since you connected; end this connection and connect again',
    )
  }
}

/** The main process refused; its message is for the user. */
export class Refused extends CodedError {
  readonly kind = 'denied'
  readonly code: ErrorCode
  /** Names of the targets that the user may open, if the refusal has them. */
  readonly targets: readonly string[] | undefined

  constructor({
    code,
    message,
    targets,
  }: {
    readonly code: ErrorCode
    readonly message: string
    readonly targets?: readonly string[]
  }) {
    super(message)
    this.code = code
    this.targets = targets
  }
}

/** A forward was ended while it was being opened. */
export class ForwardEnded extends CodedError {
  readonly kind = 'denied'
  readonly code = 'ERR_FORWARD_ENDED'

  constructor() {
    super('the session or grant of this forward ended while the forward was being opened')
  }
}

/** The data of an SFTP session cannot be watched, so the session ended. */
export class SftpUnreadable extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_SFTP_UNREADABLE'

  constructor(what: string) {
    super(`this session ended because its data is not SFTP that VaultTerm can record (${what})`)
  }
}

/** File operations could not be put on record, so the session ended. */
export class FilesUnlogged extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_AUDIT_FAILED'

  constructor(cause: unknown) {
    super(
      'this session ended because its file operations could not be put on the audit log; try again later',
      { cause },
    )
  }
}

/** A command is longer than any SSH server takes. */
export class CommandTooLong extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_COMMAND_TOO_LONG'

  constructor(bytes: number, bytesMax: number) {
    super(
      `the command has ${bytes} bytes, and SSH servers accept at most ${bytesMax}; put it into a file, or send it on standard input`,
    )
  }
}
