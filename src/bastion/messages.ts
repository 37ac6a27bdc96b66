import { z } from 'zod'
import type { BastionLimits } from '../config.ts'
import { CodedError, type ErrorCode, type ErrorKind } from '../errors.ts'
import type { SessionId } from '../recorder/index.ts'
import type { ServerHostKey } from '../ssh/index.ts'
import type { ConnectionId } from './broker.ts'

/** What a worker is started with: nothing of it is worth stealing but the host keys. */
export interface WorkerSettings {
  readonly limits: BastionLimits
  readonly hostKeys: readonly ServerHostKey[]
  /** Where recordings are written. */
  readonly recordings: string
  readonly logLevel: string
  /** Among those of this process, for the log. */
  readonly worker: number
}

/** An error with a code crosses as what a face may show of it; of any other nothing does. */
export interface ErrorMessage {
  readonly code: ErrorCode
  readonly kind: ErrorKind
  readonly message: string
}

/** What comes with a socket, on the way that sockets have. */
export interface Given {
  readonly connection: ConnectionId
  readonly source: string
}

/** From the main process to a worker. */
export type ToWorker =
  | { readonly type: 'start'; readonly settings: WorkerSettings }
  | { readonly type: 'evict'; readonly connection: ConnectionId }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failure'; readonly id: number; readonly error: ErrorMessage | undefined }
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'metrics'; readonly id: number }
  | { readonly type: 'kill'; readonly session: SessionId; readonly reason: string }
  | { readonly type: 'endForward'; readonly forward: string; readonly reason: string }
  /** End when the last session has. */
  | { readonly type: 'drain' }
  /** End what there is, each session with a line for its user, and then yourself. */
  | { readonly type: 'stop' }

const bytes = (max: number) =>
  z.custom<Buffer>((value) => Buffer.isBuffer(value) && value.length <= max, 'is not bytes')
const id = z
  .string()
  .max(64)
  .regex(/^[\x21-\x7e]+$/)
const connection = id.transform((text) => text as ConnectionId)
const session = id.transform((text) => text as SessionId)
const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const kind = z.enum(['shell', 'exec', 'sftp', 'forward', 'remote-forward', 'agent', 'x11', 'jump'])

const targetName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
const departure = z.enum(['silent', 'refused', 'late', 'invalid'])

const attempt = z.strictObject({
  user: z.string().max(4096),
  algorithm: z.string().max(256),
  key: bytes(32_768),
  signature: bytes(16_384),
  signedData: bytes(65_536),
})
const destination = z.strictObject({
  host: z.string().max(255),
  port: z.number().int().min(0).max(65_535),
})
const forwardWish = z.strictObject({
  kind: z.enum(['forward', 'remote-forward', 'agent', 'x11']),
  host: z.string().max(1024).exactOptional(),
  port: z.number().int().min(0).max(65_535).exactOptional(),
  path: z.string().max(1024).exactOptional(),
})
const forwardEnd = z.strictObject({
  bytesIn: count,
  bytesOut: count,
  ended: z.enum(['ended', 'refused', 'listening']),
})
const proof = z.strictObject({ hostKey: bytes(65_536), signature: bytes(65_536) })
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const fileOperation = z.strictObject({
  op: z.enum([
    'open',
    'read',
    'write',
    'list',
    'remove',
    'rename',
    'mkdir',
    'rmdir',
    'symlink',
    'hardlink',
    'copy',
    'setstat',
  ]),
  path: z.string().max(1024),
  to: z.string().max(1024).exactOptional(),
  bytes: count.exactOptional(),
  sha256: sha256.exactOptional(),
  code: count.max(0xffff_ffff).exactOptional(),
})
const stream = z.strictObject({ bytes: count, sha256 })
const digest = z.strictObject({
  bytes: count,
  sha256,
  events: count,
  durationMs: z.number().min(0),
  complete: z.boolean(),
  empty: z.boolean(),
  streams: z.strictObject({ output: stream, errorOutput: stream }).exactOptional(),
})
const facts = z.strictObject({
  kind,
  command: bytes(1_048_576).exactOptional(),
  clientIdent: z.string().max(256),
})
const outcome = z.strictObject({
  exitStatus: count.max(0xffff_ffff).exactOptional(),
  exitSignal: z.string().max(256).exactOptional(),
  bytes: count,
  reason: z.string().max(256),
  recording: digest.exactOptional(),
})

/** What a worker may ask, and with what. Anything else is not understood, and not answered. */
export const callShape = z.discriminatedUnion('method', [
  z.strictObject({ method: z.literal('login'), args: z.tuple([connection, attempt]) }),
  z.strictObject({ method: z.literal('openJump'), args: z.tuple([connection, destination]) }),
  z.strictObject({
    method: z.literal('enterJump'),
    args: z.tuple([connection, z.string().max(4096)]),
  }),
  z.strictObject({
    method: z.literal('authorize'),
    args: z.union([z.tuple([connection, kind]), z.tuple([connection, kind, targetName])]),
  }),
  z.strictObject({ method: z.literal('choices'), args: z.tuple([connection]) }),
  z.strictObject({ method: z.literal('startSession'), args: z.tuple([connection, id, facts]) }),
  z.strictObject({ method: z.literal('leaseKey'), args: z.tuple([connection, id, session]) }),
  z.strictObject({
    method: z.literal('checkHostKey'),
    args: z.tuple([connection, id, bytes(65_536)]),
  }),
  z.strictObject({
    method: z.literal('sign'),
    args: z.tuple([connection, id, bytes(65_536), z.string().max(256), proof]),
  }),
  z.strictObject({
    method: z.literal('upstreamOpened'),
    args: z.tuple([connection, id, session]),
  }),
  z.strictObject({
    method: z.literal('openForward'),
    args: z.tuple([connection, session, forwardWish]),
  }),
  z.strictObject({
    method: z.literal('closeForward'),
    args: z.tuple([connection, id, forwardEnd]),
  }),
  z.strictObject({
    method: z.literal('recordFiles'),
    args: z.tuple([connection, session, z.array(fileOperation).max(100).readonly()]),
  }),
  z.strictObject({
    method: z.literal('endSession'),
    args: z.tuple([connection, session, outcome]),
  }),
])
export type Call = z.infer<typeof callShape>

/** From a worker to the main process. */
export const fromWorkerShape = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('call'), id: count, call: callShape }),
  /** It has the socket: nobody else needs to hold it. */
  z.strictObject({ type: z.literal('taken'), connection }),
  z.strictObject({ type: z.literal('closed'), connection }),
  z.strictObject({ type: z.literal('left'), connection, how: departure }),
  z.strictObject({ type: z.literal('pong'), id: count }),
  z.strictObject({ type: z.literal('metrics'), id: count, metrics: z.string().max(524_288) }),
])
export type FromWorker = z.infer<typeof fromWorkerShape>

/** What is told of an error to the other side. */
export function errorMessage(err: unknown): ErrorMessage | undefined {
  if (!(err instanceof CodedError)) return undefined
  const { code, kind: errorKind, message } = err
  return { code, kind: errorKind, message }
}

/** An error of the other side's, as it is thrown here. */
export class RemoteError extends CodedError {
  readonly kind: ErrorKind
  readonly code: ErrorCode

  constructor(error: ErrorMessage) {
    super(error.message)
    this.kind = error.kind
    this.code = error.code
  }
}
