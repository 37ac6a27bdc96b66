import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { z } from 'zod'
import { FieldInvalid } from './errors.ts'
import type { Rate } from './rate-limit.ts'
import type { RouteRight } from './rights.ts'

/** A reply that is sent as it is read. It has a media type and no shape. */
export interface StreamReply {
  readonly stream: string
}

/** The answer of an act whose route declares a stream. */
export interface Download {
  readonly stream: Readable
  readonly fileName: string
  /** Whether the person still has the right to it. Asked again and again while it is read. */
  mayGoOn(): Promise<boolean>
}

/** One part of a request, as its shape reads it; nothing where the route declares no such part. */
type Read<Shape> = Shape extends z.ZodType ? z.output<Shape> : undefined
type Answer<Reply> = Reply extends z.ZodType
  ? z.input<Reply>
  : Reply extends StreamReply
    ? Download
    : undefined

/** What a route answers: a shape, a stream, or nothing but the status 204. */
export type ReplyShape = z.ZodType | StreamReply | 'nothing'

/**
 * A request that is done once, however often its sender repeats it. The act does it with the key and the
 * digest in its own transaction.
 */
export interface Once {
  /** The sender's Idempotency-Key. */
  readonly key: string
  /** Of the route and the request: 32 bytes. Another request cannot have the same key. */
  readonly digest: Buffer
}

/** The circumstances of a request. */
export interface RouteCall<Person> {
  readonly person: Person
  /** The address that it came from. */
  readonly source: string
  /** The browser or program, as it calls itself: at most 256 characters, none of them a control. */
  readonly device: string
  /** What the sender sees: `https://vaultterm.example`. */
  readonly origin: string
  /** How the person proved freshly that it is them; undefined where the route does not ask for that. */
  readonly stepUp: string | undefined
  /** Undefined where the route does not ask for a key. */
  readonly once: Once | undefined
  /** Puts the cookie of a web session into the browser. The session that it had ends. */
  enter(cookie: string): Promise<void>
}

/** Of an answer that has its route's shape. */
export type RouteStatus = 200 | 201 | 202 | 204 | 503

export type RouteMethod = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

/** The description of one act over HTTP. */
export interface RouteFields<
  Person,
  Right extends RouteRight,
  Params extends z.ZodObject | undefined,
  Query extends z.ZodObject | undefined,
  Body extends z.ZodObject | undefined,
  Reply extends ReplyShape,
  Purpose extends string,
> {
  readonly method: RouteMethod
  /** As in OpenAPI: `/api/v1/sessions/{id}`. */
  readonly path: `/api/v1/${string}`
  /** One line, for people. */
  readonly summary: string
  readonly description?: string
  /** Without one the route does not compile. */
  readonly right: Right
  /** The person must have proved freshly, and for this purpose, that it is them. */
  readonly stepUp?: Purpose
  /** The request must have an Idempotency-Key: RouteCall.once. */
  readonly once?: true
  /** For one person; for one address it is eight times as much, and for strangers at one address as much. */
  readonly limit?: Rate
  /** All three are strict: a field that they do not name is an error. */
  readonly params?: Params
  readonly query?: Query
  /** JSON. */
  readonly body?: Body
  readonly reply: Reply
  /** Of the answers, the usual one first; only 200 if not given. */
  readonly statuses?: readonly [RouteStatus, ...RouteStatus[]]
  /** Which of them an answer has; the first if not given. */
  statusOf?(answer: Answer<Reply>): RouteStatus
  act(
    asked: {
      readonly params: Read<Params>
      readonly query: Read<Query>
      readonly body: Read<Body>
    },
    call: RouteCall<Person>,
  ): Promise<Answer<Reply>>
}

/** The parts of a request as they came. */
export interface RouteInput {
  /** The sender's Idempotency-Key. */
  readonly key: unknown
  readonly params: unknown
  readonly query: unknown
  /** undefined if there is none. */
  readonly body: unknown
}

export interface RouteAnswer {
  readonly status: RouteStatus
  /** JSON, a stream, or nothing. */
  readonly content: string | Download | undefined
}

/** A route in the list that a listener serves. The types of its parts are in route()'s answer. */
export interface Route<Person, Right extends RouteRight = RouteRight> {
  readonly method: RouteMethod
  readonly path: `/api/v1/${string}`
  readonly summary: string
  readonly description?: string
  readonly right: Right
  readonly stepUp?: string
  readonly once?: true
  readonly limit?: Rate
  readonly params?: z.ZodObject | undefined
  readonly query?: z.ZodObject | undefined
  readonly body?: z.ZodObject | undefined
  readonly reply: ReplyShape
  readonly statuses?: readonly [RouteStatus, ...RouteStatus[]]
  /**
   * Reads the parts, asks whether the act may begin, acts, and shapes the answer. Throws FieldInvalid,
   * and what `begin` and the act throw.
   */
  answer(input: RouteInput, begin: BeginCall<Person>): Promise<RouteAnswer>
}

/** Kept as they are written, so that a program finds a route's types by them. */
interface Named<Method, Path> {
  readonly method: Method
  readonly path: Path
}

/** The circumstances of a request whose parts have been read. Throws StepUpRequired. */
export type BeginCall<Person> = (once: Once | undefined) => Promise<RouteCall<Person>>

/** The same with the types of its parts, for programs that call it. */
type TypedRoute<
  Person,
  Right extends RouteRight,
  Params extends z.ZodObject | undefined,
  Query extends z.ZodObject | undefined,
  Body extends z.ZodObject | undefined,
  Reply extends ReplyShape,
  Purpose extends string,
> = RouteFields<Person, Right, Params, Query, Body, Reply, Purpose> &
  Pick<Route<Person, Right>, 'answer'>

/**
 * The one way to make a route of an API, for a listener with these people, rights, and purposes of a
 * fresh proof.
 *
 * From a list of routes follow the serving of them (`serveRoutes`), the OpenAPI document
 * (`describeRoutes`), and the table of rights with its test.
 */
export const routesFor =
  <Person, Right extends RouteRight, Purpose extends string = never>() =>
  <
    const Reply extends ReplyShape,
    const Params extends z.ZodObject | undefined = undefined,
    const Query extends z.ZodObject | undefined = undefined,
    const Body extends z.ZodObject | undefined = undefined,
    const Method extends Route<Person>['method'] = never,
    const Path extends Route<Person>['path'] = never,
  >(
    fields: RouteFields<Person, Right, Params, Query, Body, Reply, Purpose> & Named<Method, Path>,
  ): TypedRoute<Person, Right, Params, Query, Body, Reply, Purpose> & Named<Method, Path> => ({
    ...fields,
    async answer(input, begin) {
      const params = readPart(fields.params, input.params, 'path') as Read<Params>
      const query = readPart(fields.query, input.query, 'query') as Read<Query>
      const body = readPart(fields.body, input.body ?? {}, 'body') as Read<Body>
      const once = fields.once && readOnce(fields, input)
      const answer = await fields.act({ params, query, body }, await begin(once))
      if (fields.reply === 'nothing') return { status: 204, content: undefined }
      const status = fields.statusOf?.(answer) ?? fields.statuses?.[0] ?? 200
      const content = isStream(fields.reply) ? (answer as Download) : shape(fields.reply, answer)
      return { status, content }
    },
  })

export function isStream(reply: ReplyShape): reply is StreamReply {
  return typeof reply === 'object' && 'stream' in reply
}

const keyPattern = /^[\w-]{16,64}$/

function readOnce(
  { method, path }: { readonly method: string; readonly path: string },
  { key, params, query, body }: RouteInput,
): Once {
  if (typeof key !== 'string' || !keyPattern.test(key)) {
    throw new FieldInvalid('header.idempotency-key', 'must have 16 to 64 of a-z, A-Z, 0-9, _ and -')
  }
  const text = JSON.stringify([method, path, params, query, body])
  return { key, digest: createHash('sha256').update(text).digest() }
}

const nothing = z.strictObject({})

/** The message names the field and never its value. */
function readPart(shape: z.ZodObject | undefined, given: unknown, part: string): unknown {
  const found = (shape ?? nothing).safeParse(given)
  if (found.success) return shape && found.data
  const [issue] = found.error.issues
  const fields = issue?.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : (issue?.path ?? [])
  throw new FieldInvalid([part, ...fields].join('.'), problemOf(issue))
}

function problemOf(issue: z.core.$ZodIssue | undefined): string {
  switch (issue?.code) {
    case 'unrecognized_keys':
      return 'is not a field of this request'
    case 'invalid_value':
      return `is none of ${issue.values.join(', ')}`
    case 'custom':
      return issue.message
    case 'too_big':
      return issue.origin === 'string'
        ? `has more than ${issue.maximum} characters`
        : `is more than ${issue.maximum}`
    case 'too_small':
      return issue.origin === 'string'
        ? `has fewer than ${issue.minimum} characters`
        : `is less than ${issue.minimum}`
    default:
      return 'has the wrong form'
  }
}

/** Only named fields leave. An answer without the shape is a bug, and nothing of it leaves. */
function shape(reply: z.ZodType, answer: unknown): string {
  const found = reply.safeParse(answer)
  if (found.success) return JSON.stringify(found.data)
  const fields = found.error.issues.map(({ path }) => path.join('.'))
  throw new Error(`the answer does not have its shape: ${fields.join(', ')}`)
}
