import { z } from 'zod'
import type { BastionLimits } from '../../config.ts'
import { CodedError, type ErrorCode, type ErrorKind } from '../../errors.ts'
import type { SessionId } from '../../recorder/index.ts'
import type { ServerHostKey } from '../../ssh/index.ts'
import {
  type ConnectionId,
  callShape,
  connection,
  count,
  fileNotes,
  recordingPoint,
  session,
} from './calls.ts'
import type { LeaseTimes } from './lease-times.ts'

/** The settings of a worker. The host keys are their only secret. */
export interface WorkerSettings {
  readonly limits: BastionLimits
  readonly hostKeys: readonly ServerHostKey[]
  /** Where recordings are written. */
  readonly recordings: string
  readonly logLevel: string
  /** Among those of this process, for the log. */
  readonly worker: number
  /** How much of a command's output is recorded from its beginning on. */
  readonly recordedOutputBytes: number
}

/**
 * An error with a code crosses with the fields that a user may see. Other errors cross without any
 * details.
 */
export interface ErrorMessage {
  readonly code: ErrorCode
  readonly kind: ErrorKind
  readonly message: string
}

/** The message that comes with a socket, on the channel that Node has for sockets. */
export interface SocketTag {
  readonly connection: ConnectionId
  readonly source: string
  /** In hex: the cookie of the key exchange. It binds a login to its connection. */
  readonly cookie: string
}

/** Why a worker ends: another one takes its place, or the bastion stops. */
export type Leave = 'restart' | 'stop'

/** From the main process to a worker. */
export type ToWorker =
  | { readonly type: 'start'; readonly settings: WorkerSettings }
  | { readonly type: 'evict'; readonly connection: ConnectionId }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failure'; readonly id: number; readonly error: ErrorMessage | undefined }
  /**
   * The first ping comes before any connection. Without a lease the node serves without a time
   * limit.
   */
  | { readonly type: 'ping'; readonly id: number; readonly lease: LeaseTimes | undefined }
  | { readonly type: 'metrics'; readonly id: number }
  | { readonly type: 'kill'; readonly session: SessionId; readonly reason: string }
  | { readonly type: 'endForward'; readonly forward: string; readonly reason: string }
  /** End when the last session has. */
  | { readonly type: 'drain'; readonly leave: Leave }
  /** End all sessions, each with a message to its user, and then exit. */
  | { readonly type: 'stop'; readonly leave: Leave }

/** Characters of a worker's figures. They are some 30,000. */
export const metricsMax = 524_288

const departure = z.enum(['silent', 'refused', 'late', 'invalid'])

/** From a worker to the main process. */
export const fromWorkerShape = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('call'), id: count, call: callShape }),
  /** The worker has its own copy of the socket: the main process can close its copy. */
  z.strictObject({ type: z.literal('taken'), connection }),
  z.strictObject({ type: z.literal('closed'), connection }),
  z.strictObject({ type: z.literal('left'), connection, how: departure }),
  /** Files of a session: there is no answer, and the main process keeps it in memory. */
  z.strictObject({ type: z.literal('files'), connection, session, notes: fileNotes }),
  /** Reports which parts of growing recordings are durable. */
  z.strictObject({
    type: z.literal('recorded'),
    connection,
    session,
    point: recordingPoint,
  }),
  /**
   * The answer to a ping. It comes after the cuts that were ordered before that ping, and before whatever
   * else waits.
   */
  z.strictObject({ type: z.literal('pong'), id: count }),
  /**
   * The answer to `kill` and `endForward`: no further data goes through that session or forward.
   */
  z.strictObject({ type: z.literal('cut'), id: z.string().max(64) }),
  z.strictObject({ type: z.literal('metrics'), id: count, metrics: z.string().max(metricsMax) }),
])
export type FromWorker = z.infer<typeof fromWorkerShape>

/** The part of an error that the other side may see. */
export function errorMessage(err: unknown): ErrorMessage | undefined {
  if (!(err instanceof CodedError)) return undefined
  const { code, kind: errorKind, message } = err
  return { code, kind: errorKind, message }
}

/** An error of the other side, in the form in which it is thrown here. */
export class RemoteError extends CodedError {
  readonly kind: ErrorKind
  readonly code: ErrorCode

  constructor(error: ErrorMessage) {
    super(error.message)
    this.kind = error.kind
    this.code = error.code
  }
}
