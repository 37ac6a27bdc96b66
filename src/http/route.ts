import type { Readable } from 'node:stream'
import { z } from 'zod'
import { FieldInvalid } from './errors.ts'
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
type Answer<Reply> = Reply extends z.ZodType ? z.input<Reply> : Download

/** The circumstances of a request. */
export interface RouteCall<Person> {
  readonly person: Person
  /** The address that it came from. */
  readonly source: string
}

/** Of an answer that has its route's shape. */
export type RouteStatus = 200 | 202 | 503

/** The description of one act over HTTP. */
export interface RouteFields<
  Person,
  Right extends RouteRight,
  Params extends z.ZodObject | undefined,
  Query extends z.ZodObject | undefined,
  Body extends z.ZodObject | undefined,
  Reply extends z.ZodType | StreamReply,
> {
  readonly method: 'GET' | 'POST'
  /** As in OpenAPI: `/api/v1/sessions/{id}`. */
  readonly path: `/api/v1/${string}`
  /** One line, for people. */
  readonly summary: string
  readonly description?: string
  /** Without one the route does not compile. */
  readonly right: Right
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
  readonly params: unknown
  readonly query: unknown
  /** undefined if there is none. */
  readonly body: unknown
}

export interface RouteAnswer {
  readonly status: RouteStatus
  /** JSON, or a stream. */
  readonly content: string | Download
}

/** A route in the list that a listener serves. The types of its parts are in route()'s answer. */
export interface Route<Person, Right extends RouteRight = RouteRight> {
  readonly method: 'GET' | 'POST'
  readonly path: `/api/v1/${string}`
  readonly summary: string
  readonly description?: string
  readonly right: Right
  readonly params?: z.ZodObject | undefined
  readonly query?: z.ZodObject | undefined
  readonly body?: z.ZodObject | undefined
  readonly reply: z.ZodType | StreamReply
  readonly statuses?: readonly [RouteStatus, ...RouteStatus[]]
  /** Reads the parts, acts, and shapes the answer. Throws FieldInvalid, and what the act throws. */
  answer(input: RouteInput, call: RouteCall<Person>): Promise<RouteAnswer>
}

/** Kept as they are written, so that a program finds a route's types by them. */
interface Named<Method, Path> {
  readonly method: Method
  readonly path: Path
}

/** The same with the types of its parts, for programs that call it. */
type TypedRoute<
  Person,
  Right extends RouteRight,
  Params extends z.ZodObject | undefined,
  Query extends z.ZodObject | undefined,
  Body extends z.ZodObject | undefined,
  Reply extends z.ZodType | StreamReply,
> = RouteFields<Person, Right, Params, Query, Body, Reply> & Pick<Route<Person, Right>, 'answer'>

/**
 * The one way to make a route of an API, for a listener with these people and rights.
 *
 * From a list of routes follow the serving of them (`serveRoutes`), the OpenAPI document
 * (`describeRoutes`), and the table of rights with its test.
 */
export const routesFor =
  <Person, Right extends RouteRight>() =>
  <
    const Reply extends z.ZodType | StreamReply,
    const Params extends z.ZodObject | undefined = undefined,
    const Query extends z.ZodObject | undefined = undefined,
    const Body extends z.ZodObject | undefined = undefined,
    const Method extends Route<Person>['method'] = never,
    const Path extends Route<Person>['path'] = never,
  >(
    fields: RouteFields<Person, Right, Params, Query, Body, Reply> & Named<Method, Path>,
  ): TypedRoute<Person, Right, Params, Query, Body, Reply> & Named<Method, Path> => ({
    ...fields,
    async answer(input, call) {
      const params = readPart(fields.params, input.params, 'path') as Read<Params>
      const query = readPart(fields.query, input.query, 'query') as Read<Query>
      const body = readPart(fields.body, input.body ?? {}, 'body') as Read<Body>
      const answer = await fields.act({ params, query, body }, call)
      const status = fields.statusOf?.(answer) ?? fields.statuses?.[0] ?? 200
      const content = isStream(fields.reply) ? (answer as Download) : shape(fields.reply, answer)
      return { status, content }
    },
  })

export function isStream(reply: z.ZodType | StreamReply): reply is StreamReply {
  return 'stream' in reply
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
