import { CodedError } from '../errors.ts'
import { inputBytesMax, waitingMax } from './lanes.ts'

/** Another try has taken the place of this one, or the job was cancelled: nothing of it was kept. */
export class JobLost extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_JOB_LOST'

  constructor() {
    super('this try of the job is over: it was cancelled, or another one has begun')
  }
}

/** No program that runs here knows the kind, or the job belongs to no tenant. */
export class JobUnknown extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_JOB_UNKNOWN'

  constructor() {
    super('this version of VaultTerm does not know this kind of job')
  }
}

/** The input of a job does not have the shape of its kind. */
export class JobInputInvalid extends CodedError {
  readonly kind = 'invalid'
  readonly code = 'ERR_JOB_INPUT'

  constructor(reason = 'does not have the shape of its kind') {
    super(`the input of the job ${reason}`)
  }

  static tooLarge(): JobInputInvalid {
    return new JobInputInvalid(`is larger than ${inputBytesMax} bytes: give it ids only`)
  }
}

/** A fault of ours: the work returned and did not end the job. */
export class JobUnfinished extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_JOB_UNFINISHED'

  constructor() {
    super('the job returned without finish()')
  }
}

/** Too many jobs of one kind wait for a tenant. Nothing of the transaction has failed. */
export class JobsFull extends CodedError {
  readonly kind = 'limited'
  readonly code = 'ERR_JOBS_FULL'

  constructor(kind: string) {
    super(
      `${waitingMax} jobs of the kind ${kind} wait for this tenant: look at \`vaultterm job list\``,
    )
  }
}

export class JobMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_JOB_MISSING'

  constructor(id: string) {
    super(`there is no job ${JSON.stringify(id)}: give the whole id, as \`job list\` prints it`)
  }
}

/** Only a failed job can be tried again, and only one that is not over can be cancelled. */
export class JobStateWrong extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_JOB_STATE'

  constructor(act: 'retry' | 'cancel', state: string) {
    super(
      act === 'retry'
        ? `only a failed job can be tried again, and this one is ${state}`
        : `only a job that waits or runs can be cancelled, and this one is ${state}`,
    )
  }
}

/** Background work stands still here; people log in all the same. */
export class QueueDown extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_JOBS_DOWN'

  constructor(cause?: unknown) {
    super(`background work stands still: ${reasonOf(cause)}`, { cause })
  }
}

function reasonOf(cause: unknown): string {
  if (cause instanceof CodedError) return cause.message
  if (cause === undefined) return 'it has not begun yet'
  return 'the queue cannot be opened: the log says why'
}
