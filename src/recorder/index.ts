/**
 * The recorder: keeps the output of sessions, as asciicast v3.
 *
 * Output is in the file before it is shown to anyone, and on the disk within a second of that. When
 * it cannot be written, the session gets one error, and no further output goes through.
 */

export {
  type Cast,
  type CastEvent,
  type CastHeader,
  CastInvalid,
  outputBytes,
  parseCast,
} from './asciicast.ts'
export { openDirStore } from './dir-store.ts'
export { RecorderFull, RecordingFailed, RecordingMissing, RecordingUnusable } from './errors.ts'
export { createRecorderMetrics } from './metrics.ts'
export {
  createRecorder,
  type Recorder,
  type RecorderOptions,
  type RecordingStart,
} from './recorder.ts'
export type { Recording, RecordingDigest, StreamDigest } from './recording.ts'
export type { Mended, Recovered, RecoveryBounds, Unended } from './recovery.ts'
export { parseSessionId, type SessionId } from './session-id.ts'
export type { Store, StoredFile } from './store.ts'
export {
  checkWitness,
  type Evidence,
  type KeptWitness,
  type RecordingPoint,
  RecordingWitness,
} from './witness.ts'
