import { z } from 'zod'
import type { RouteRight } from './rights.ts'
import { isStream, type ReplyShape, type Route } from './route.ts'

/** What the document says of a route, whoever its people are. */
type DescribedRoute = Omit<Route<never, RouteRight>, 'answer'>

interface Json {
  readonly [name: string]: unknown
}

export interface ApiFields {
  readonly title: string
  /** The name of the cookie that a request is signed in by. */
  readonly cookie: string
  /** Of routes that are no part of the list, as OpenAPI has them. */
  readonly paths?: Json
}

const problem = z
  .object({
    error: z.object({
      code: z.string().meta({ examples: ['ERR_NOT_FOUND'] }),
      message: z.string(),
      requestId: z.string(),
      purpose: z.string().optional().meta({ description: 'With 428: of the proof that is needed' }),
    }),
  })
  .meta({ id: 'Problem' })

const fieldsSchema = z.object({
  properties: z.record(z.string(), z.looseObject({ description: z.string().optional() })),
  required: z.array(z.string()).optional(),
})

const refusals = {
  400: 'A part of the request has the wrong form; the message names it',
  401: 'Not signed in',
  403: 'No right to this',
  404: 'No such thing, or none that you may know of',
  409: 'The thing is in another state',
  421: 'Not a name of this server',
  423: 'The vault is sealed; the message says how it opens',
  429: 'Too many requests',
  503: 'A service that is needed for this does not work',
}

/** The OpenAPI 3.1 document of a list of routes. */
export function describeRoutes(
  routes: readonly DescribedRoute[],
  { title, cookie, paths = {} }: ApiFields,
): Json {
  const schemas: Record<string, unknown> = {}
  const schemaOf = (shape: z.ZodType, io: 'input' | 'output') => {
    const { $schema: _, $defs = {}, ...schema } = z.toJSONSchema(shape, { io })
    Object.assign(schemas, inComponents($defs))
    return inComponents(schema)
  }
  const described: Record<string, Record<string, unknown>> = {}
  for (const route of routes) {
    described[route.path] = {
      ...described[route.path],
      [route.method.toLowerCase()]: describe(route, schemaOf),
    }
  }
  return {
    openapi: '3.1.0',
    info: { title, version: '1' },
    paths: { ...paths, ...described },
    components: {
      schemas: { Problem: schemaOf(problem, 'output'), ...schemas },
      securitySchemes: { web: { type: 'apiKey', in: 'cookie', name: cookie } },
    },
    security: [{ web: [] }],
  }
}

type SchemaOf = (shape: z.ZodType, io: 'input' | 'output') => Json

function describe(route: DescribedRoute, schemaOf: SchemaOf): Json {
  const { summary, description, right, stepUp, once, params, query, body, reply } = route
  const statuses = route.statuses ?? [reply === 'nothing' ? 204 : 200]
  return {
    summary,
    ...(description !== undefined && { description }),
    'x-right': right,
    ...(right === 'anybody' && { security: [] }),
    ...(stepUp !== undefined && { 'x-step-up': stepUp }),
    parameters: [
      ...parameters(params, 'path', schemaOf),
      ...parameters(query, 'query', schemaOf),
      ...(once === true ? [idempotencyKey] : []),
    ],
    ...(body !== undefined && {
      requestBody: { content: { 'application/json': { schema: schemaOf(body, 'input') } } },
    }),
    responses: Object.fromEntries([
      ...Object.entries(refusalsOf(route)).map(([status, text]) => [
        status,
        { description: text, content: contentOf(problem, schemaOf) },
      ]),
      ...statuses.map((status) => [
        status,
        {
          description: summary,
          ...(reply !== 'nothing' && { content: contentOf(reply, schemaOf) }),
        },
      ]),
    ]),
  }
}

/** Of a request that is done once. */
const idempotencyKey: Json = {
  name: 'Idempotency-Key',
  in: 'header',
  required: true,
  description: 'A new random text for each act: the same request with the same key is done once',
  schema: { type: 'string', pattern: '^[A-Za-z0-9_-]{16,64}$' },
}

function refusalsOf({ stepUp }: DescribedRoute): { readonly [status: string]: string } {
  if (stepUp === undefined) return refusals
  return { ...refusals, 428: 'A fresh proof is needed; `purpose` says what for' }
}

function contentOf(reply: Exclude<ReplyShape, 'nothing'>, schemaOf: SchemaOf): Json {
  if (isStream(reply)) return { [reply.stream]: { schema: { type: 'string' } } }
  return { 'application/json': { schema: schemaOf(reply, 'output') } }
}

function parameters(
  shape: z.ZodObject | undefined,
  where: 'path' | 'query',
  schemaOf: SchemaOf,
): readonly Json[] {
  if (shape === undefined) return []
  const { properties, required = [] } = fieldsSchema.parse(schemaOf(shape, 'input'))
  return Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: where,
    required: required.includes(name),
    ...(description !== undefined && { description }),
    schema,
  }))
}

/** Named shapes stand in the document once. */
function inComponents(schema: object): Json {
  const text = JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/')
  return JSON.parse(text)
}
