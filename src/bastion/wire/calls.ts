import { z } from 'zod'
import type { ErrorCode } from '../../errors.ts'
import type { SessionId } from '../../recorder/index.ts'

/** A client's connection, as the main process names it. */
export type ConnectionId = string & { readonly brand: 'ConnectionId' }

const bytes = (max: number) =>
  z.custom<Buffer>((value) => Buffer.isBuffer(value) && value.length <= max, 'is not bytes')
const id = z
  .string()
  .max(64)
  .regex(/^[\x21-\x7e]+$/)
export const connection = id.transform((text) => text as ConnectionId)
export const session = id.transform((text) => text as SessionId)
export const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
const port = z.number().int().min(0).max(65_535)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const kind = z.enum(['shell', 'exec', 'sftp', 'forward', 'remote-forward', 'agent', 'x11', 'jump'])
/** Something that a user may do on a target, one channel at a time. */
export type ChannelKind = z.infer<typeof kind>
const targetName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)

const loginAttempt = z.strictObject({
  user: z.string().max(4096),
  algorithm: z.string().max(256),
  key: bytes(32_768),
  signature: bytes(16_384),
  signedData: bytes(65_536),
  exchange: z
    .strictObject({ hash: z.enum(['sha256', 'sha384', 'sha512']), input: bytes(262_144) })
    .exactOptional(),
})

const destination = z.strictObject({ host: z.string().max(255), port })

const forwardRequest = z.strictObject({
  kind: z.enum(['forward', 'remote-forward', 'agent', 'x11']),
  /** As `canonicalHost` writes it. */
  host: z.string().max(255).exactOptional(),
  port: port.exactOptional(),
  /** Of a socket on the target. */
  path: z.string().max(1024).exactOptional(),
  /** The address at which the worker reached the target. */
  peer: z.string().max(64).exactOptional(),
})
/** One forward that a client or a target asks for: to an address, from one, or to an agent or display. */
export type ForwardRequest = Readonly<z.infer<typeof forwardRequest>>

const openedForward = z.object({
  forward: z.string(),
  /** Where to open it: this, and not the client's own spelling, goes to the target. */
  host: z.string().exactOptional(),
  port: z.number().exactOptional(),
  path: z.string().exactOptional(),
})
/** A permitted forward that is on record. */
export type OpenedForward = Readonly<z.infer<typeof openedForward>>

const forwardEnd = z.strictObject({
  /** Towards the target. */
  bytesIn: count,
  /** From the target. */
  bytesOut: count,
  /** `listening`: the target listens from now on. Each connection that it accepts is a forward of its own. */
  ended: z.enum(['ended', 'refused', 'listening']),
})
/** How a forward ended, as the worker that carried it knows. */
export type ForwardEnd = Readonly<z.infer<typeof forwardEnd>>

const hostProof = z.strictObject({ hostKey: bytes(65_536), signature: bytes(65_536) })

/** PATH_MAX of Linux, which ends in a NUL byte that does not cross. */
const path = bytes(4096)
/**
 * The number of an operation in its session: of the request, of the handle that it gave, and of the
 * transfer through that handle.
 */
const number = count

const fileOperation = z.strictObject({
  op: z.enum([
    'open',
    'read',
    'write',
    'close',
    'list',
    'remove',
    'rename',
    'mkdir',
    'rmdir',
    'symlink',
    'hardlink',
    'copy',
    'setstat',
    'fsync',
    'realpath',
    'readlink',
    'lookup',
    'extended',
  ]),
  number,
  /** `open`: the file stays open. `running`: more may come. `interrupted`: the end is not known. */
  state: z.enum(['open', 'running', 'interrupted']).exactOptional(),
  /** The raw bytes, as the client sent them. */
  path: path.exactOptional(),
  /** The second path of a rename, a link or a copy; the target's answer when it resolves a path. */
  to: path.exactOptional(),
  /** Of an open: SSH_FXF_… in draft-ietf-secsh-filexfer-02 section 6.3. `other`: bits beyond those. */
  flags: z
    .array(z.enum(['read', 'write', 'append', 'creat', 'trunc', 'excl', 'other']))
    .max(7)
    .readonly()
    .exactOptional(),
  /** What is set, of an open, a mkdir, and a setstat: `size=0`, `mode=100644` in octal digits. */
  attributes: z
    .array(
      z
        .string()
        .max(32)
        .regex(/^(size|uid|gid|mode|atime|mtime|extended)=\d+$/),
    )
    .max(8)
    .readonly()
    .exactOptional(),
  /** The name of an extended request. */
  extension: z
    .string()
    .max(128)
    .regex(/^[\x21-\x7e]+$/)
    .exactOptional(),
  /** Of look-ups. */
  count: count.exactOptional(),
  /** Of a transfer, a listing, look-ups, or the payload of an extended request. */
  bytes: count.exactOptional(),
  /** In hex, of a transfer that went from the first byte on without a gap, or of a payload. */
  sha256: sha256.exactOptional(),
  /** Of the reply to an extended request that VaultTerm does not know. */
  replyBytes: count.exactOptional(),
  replySha256: sha256.exactOptional(),
  /** The SFTP status, 0 for success; absent where the session ended before the status came. */
  code: count.max(0xffff_ffff).exactOptional(),
})
/** Something that was done to a file of a target by SFTP. */
export type FileOperation = Readonly<z.infer<typeof fileOperation>>

const fileProgress = z.strictObject({
  number,
  read: count.exactOptional(),
  written: count.exactOptional(),
})
/** How many bytes of an open file have gone each way so far. */
export type FileProgress = Readonly<z.infer<typeof fileProgress>>

export const fileNotes = z.strictObject({
  /** The client asks for these, and the target has not seen that yet. */
  asked: z.array(fileOperation).max(1000).readonly(),
  moved: z.array(fileProgress).max(1000).readonly(),
})
/** The facts about a session's files that the main process needs if the worker dies. */
export type FileNotes = Readonly<z.infer<typeof fileNotes>>

const streamDigest = z.strictObject({ bytes: count, sha256 })
const recordingDigest = z.strictObject({
  bytes: count,
  sha256,
  events: count,
  durationMs: z.number().min(0),
  complete: z.boolean(),
  empty: z.boolean(),
  streams: z.strictObject({ output: streamDigest, errorOutput: streamDigest }).exactOptional(),
})

/** Of a recording that grows: its first bytes, which are durable, and their digest. */
export const recordingPoint = z.strictObject({ bytes: count, sha256 })

const startFacts = z.strictObject({
  kind,
  /** No packet holds a longer one, and a session's row keeps all of it. */
  command: bytes(262_144).exactOptional(),
  clientIdent: z.string().max(256),
})
/** The facts about a session's start that only the worker knows. The main process knows the others. */
export type StartFacts = Readonly<z.infer<typeof startFacts>>

const sessionEnd = z.strictObject({
  exitStatus: count.max(0xffff_ffff).exactOptional(),
  exitSignal: z.string().max(256).exactOptional(),
  bytes: count,
  reason: z.string().max(256),
  recording: recordingDigest.exactOptional(),
})

const client = z.object({
  user: z.string(),
  tenant: z.string(),
  tenantSlug: z.string(),
  /** The user already has the largest number of connections: this one gets a message and ends. */
  oneTooMany: z.boolean(),
  /** The limits of the certificate that the client came with. */
  bounds: z
    .object({ permits: z.array(z.string()).readonly(), forceCommand: z.string().exactOptional() })
    .optional(),
})
/** The facts about a user who has logged in that a worker may have. */
export type Client = Readonly<z.infer<typeof client>>

const denial = z.object({
  denied: z.string(),
  code: z.custom<ErrorCode>((value) => typeof value === 'string' && value.startsWith('ERR_')),
  /** Describes the problem and the remedy. */
  message: z.string(),
  /** Names of the targets that this user may open. */
  targets: z.array(z.string()).readonly().exactOptional(),
})
/** The reason why a channel may not be opened, as far as the user may know it. */
export type Denial = Readonly<z.infer<typeof denial>>

const jump = z.object({
  /** The inner connection, on which no user has logged in yet. */
  connection: z.custom<ConnectionId>((value) => typeof value === 'string'),
  target: z.string(),
  /** For the first host key, in the name of the target. */
  certificate: z.instanceof(Buffer).optional(),
})
/** An inner connection to a target, inside the channel of an outer one. */
export type Jump = Readonly<z.infer<typeof jump>>

const authorization = z.object({
  id: z.string(),
  tenant: z.custom<string & { readonly brand: 'TenantId' }>((value) => typeof value === 'string'),
  tenantSlug: z.string(),
  user: z.object({ name: z.string() }),
  target: z.object({
    id: z.string(),
    name: z.string(),
    host: z.string(),
    port: z.number(),
    hostKeys: z
      .array(z.object({ type: z.string(), blob: z.instanceof(Buffer) }).readonly())
      .readonly(),
    hostCertified: z.boolean(),
    generation: z.number(),
  }),
  login: z.string(),
})
/** Permission to open one session on one target, as far as a worker needs it. */
export type Authorization = Readonly<z.infer<typeof authorization>>

const choiceQuery = z.strictObject({
  /** Only names that contain this. */
  search: z.string().max(64),
  /** The `next` of the page before; empty for the first page. */
  after: z.string().max(64),
})
/** Which page of targets a menu wants. */
export type ChoiceQuery = Readonly<z.infer<typeof choiceQuery>>

const choicePage = z.object({
  choices: z
    .array(
      z
        .object({
          name: z.string(),
          /** RFC 3339, UTC: when the user last opened it. */
          lastAt: z.string().exactOptional(),
        })
        .readonly(),
    )
    .readonly(),
  /** undefined: this is the last page. */
  next: z.string().optional(),
  /** Of all pages; only the first one has it. */
  total: z.number().exactOptional(),
})
/** One page of the targets that a user may choose from, by name. */
export type ChoicePage = Readonly<z.infer<typeof choicePage>>

const keyLease = z.object({
  id: z.string(),
  /** RFC 4253 section 6.6. */
  publicKey: z.instanceof(Buffer),
  /** Shown to the target in place of the key, if there is one. */
  certificate: z.instanceof(Buffer).exactOptional(),
})

const call = <Args extends z.ZodTuple, Answer extends z.ZodType>(args: Args, answer: Answer) => ({
  args,
  answer,
})

/**
 * Everything that a worker may ask the main process, with the shapes of arguments and answer. Both ends
 * of the pipe follow from this table.
 *
 * Arguments come from the process that parses strangers' bytes: anything that does not fit is refused.
 * Each call names the connection that it is made for. The main process itself remembers the user of that
 * connection and what they may do. Of an answer, only the fields named here cross to the worker.
 */
export const calls = {
  /** Verifies a signed login attempt. Undefined: the attempt is refused. */
  login: call(z.tuple([connection, loginAttempt]), client.optional()),
  /**
   * Finds the target at an address that the user may jump to. Undefined: there is no such target.
   */
  openJump: call(z.tuple([connection, destination]), z.union([denial, jump]).optional()),
  /** Admits the user of the outer connection under the user name that the inner connection gives. */
  enterJump: call(z.tuple([connection, z.string().max(4096)]), z.union([denial, client])),
  /**
   * Decides whether the user may open the target named at login, or the chosen one if none was
   * named.
   */
  authorize: call(
    z.tuple([connection, kind, targetName.optional()]),
    z.union([denial, authorization]),
  ),
  /** Decides whether the user may lend their agent or display to the target. Undefined: yes. */
  permitLoan: call(z.tuple([connection, z.enum(['agent', 'x11'])]), denial.optional()),
  /** Lists one page of the targets that the user may choose from. */
  choices: call(z.tuple([connection, choiceQuery]), choicePage),
  /** Puts the start of a session on record. */
  startSession: call(
    z.tuple([connection, id, startFacts]),
    z.object({ session: z.custom<SessionId>((value) => typeof value === 'string') }),
  ),
  /** Gives the right to one signature with the key for the session's target. */
  leaseKey: call(z.tuple([connection, id, session]), keyLease),
  /** Compares a host key with the ones pinned for the target. */
  checkHostKey: call(z.tuple([connection, id, bytes(65_536)]), z.boolean()),
  /** Signs a login at the host that proved itself in the same key exchange that the data is about. */
  sign: call(
    z.tuple([connection, id, bytes(65_536), z.string().max(256), hostProof]),
    z.instanceof(Buffer),
  ),
  /** Puts on record that the target has let the session in. */
  upstreamOpened: call(z.tuple([connection, id, session]), z.void()),
  /** Decides whether one more forward may open in a session. It is on record when this resolves. */
  openForward: call(
    z.tuple([connection, session, forwardRequest]),
    z.union([denial, openedForward]),
  ),
  /** Puts file operations of a session on record. */
  recordFiles: call(
    z.tuple([connection, session, z.array(fileOperation).max(100).readonly()]),
    z.void(),
  ),
  /** Puts the end of a forward on record. */
  closeForward: call(z.tuple([connection, id, forwardEnd]), z.void()),
  /** Puts the end of a session on record. */
  endSession: call(z.tuple([connection, session, sessionEnd]), z.void()),
} as const

type Calls = typeof calls
type Method = keyof Calls
type Args<M extends Method> = z.infer<Calls[M]['args']>
type Answer<M extends Method> = z.infer<Calls[M]['answer']>

/** One call with its arguments, as it crosses the pipe. */
export type Call = {
  readonly [M in Method]: { readonly method: M; readonly args: Args<M> }
}[Method]

/** The main process, as the side that parses strangers' bytes asks it: one function for each call. */
export type Broker = {
  readonly [M in Method]: (...args: Args<M>) => Promise<Answer<M>>
}

const callShapes = Object.entries(calls).map(([method, { args }]) =>
  z.strictObject({ method: z.literal(method), args }),
)

/** A call with arguments that fit. */
export const callShape = z.discriminatedUnion(
  'method',
  callShapes as [(typeof callShapes)[number], ...typeof callShapes],
  // TypeScript does not follow the entries of an object, so this states their types.
) as unknown as z.ZodType<Call>

/** Makes a broker from one function that carries every call across. */
export function brokerOver(ask: (call: Call) => Promise<unknown>): Broker {
  const methods = Object.keys(calls) as Method[]
  return Object.fromEntries(
    methods.map((method) => [
      method,
      // An argument that is left out has no form in JSON.
      (...args: readonly unknown[]) =>
        ask({ method, args: args.filter((arg) => arg !== undefined) } as unknown as Call),
    ]),
  ) as unknown as Broker
}

/**
 * Makes a call on a broker. Resolves with the fields that the table names, and with no others.
 */
export async function answerCall(broker: Broker, { method, args }: Call): Promise<unknown> {
  const answer: unknown = await Reflect.apply(broker[method], broker, args)
  return calls[method].answer.parse(answer)
}
