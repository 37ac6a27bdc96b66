import { CodedError, errorCode } from '../errors.ts'

/** There is too little room to begin a recording, and so no session begins. */
export class RecorderFull extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_RECORDER_FULL'

  constructor(freeBytes: number, floorBytes: number) {
    super(
      `no room to record: ${mebibytes(freeBytes)} MiB free, ${mebibytes(floorBytes)} MiB needed; ` +
        'the operator must make room where recordings are kept',
    )
  }
}

/** Output could not be put on record. */
export class RecordingFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_RECORDER_FAILED'
  readonly reason: 'full' | 'hung' | 'io'

  constructor(reason: 'full' | 'hung' | 'io', cause?: unknown) {
    super(failures[reason], { cause })
    this.reason = reason
  }
}

/** There is something else in the place of a recording: it was replaced or changed. */
export class RecordingUnusable extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_RECORDING_UNUSABLE'
  readonly why: 'not-a-file' | 'other-size'

  constructor(why: 'not-a-file' | 'other-size', cause?: unknown) {
    super(unusable[why], { cause })
    this.why = why
  }
}

/** There is no such recording, or it does not belong to this tenant. */
export class RecordingMissing extends CodedError {
  readonly kind = 'missing'
  readonly code = 'ERR_RECORDING_MISSING'

  constructor(cause?: unknown) {
    super('there is no recording of this session', { cause })
  }
}

const unusable = {
  'not-a-file': 'the recording was replaced: it is not a regular file',
  'other-size': 'the recording was changed: it is not as long as the log says',
}

const failures = {
  full: 'the recording could not be written: no room is left where recordings are kept',
  hung: 'the recording could not be written: the storage does not answer',
  io: 'the recording could not be written: the storage failed',
}

/** The failure that an error of the operating system means. */
export function recordingFailed(err: unknown): RecordingFailed {
  if (err instanceof RecordingFailed) return err
  const code = errorCode(err)
  const full = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
  return new RecordingFailed(full ? 'full' : 'io', err)
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1048576)
}
