import type { PortalRoute } from '../../src/portal/index.ts'

/** Of all that a route says of itself, the types: the routes are compiled on the server alone. */
type Find<Method, Path> = Extract<PortalRoute, { method: Method; path: Path }>
type Shaped = { readonly _zod: { readonly input: unknown; readonly output: unknown } }
type Input<Shape> = Shape extends Shaped ? Shape['_zod']['input'] : never
export type Reply<Method, Path> =
  Find<Method, Path> extends { reply: infer Shape }
    ? Shape extends Shaped
      ? Shape['_zod']['output']
      : never
    : never

type Part<Route, Name extends string> = Route extends { readonly [name in Name]?: infer Shape }
  ? Input<NonNullable<Shape>>
  : never
interface Asked<Method, Path> {
  readonly params?: Part<Find<Method, Path>, 'params'>
  readonly query?: Part<Find<Method, Path>, 'query'>
  readonly body?: Part<Find<Method, Path>, 'body'>
  readonly signal?: AbortSignal
}

/** What the server, or the way to it, answers in place of an answer. */
export class CallFailed extends Error {
  readonly code: string
  /** To find it in the server's log; undefined if no answer came. */
  readonly requestId: string | undefined
  /** Of the fresh proof that is needed first. */
  readonly purpose: string | undefined
  readonly at = new Date()

  constructor(code: string, message: string, requestId?: string, purpose?: string) {
    super(message)
    this.code = code
    this.requestId = requestId
    this.purpose = purpose
  }
}

/**
 * Calls a route of the API, and gives the answer in the route's own type. Throws CallFailed, or the
 * signal's reason. Without a web session it leads to the sign-in page.
 */
export async function call<Method extends PortalRoute['method'], Path extends PortalRoute['path']>(
  method: Method,
  path: Path,
  { params, query, body, signal }: Asked<Method, Path> = {},
): Promise<Reply<Method, Path>> {
  const response = await send(addressOf(path, params, query), {
    method,
    ...(signal && { signal }),
    ...(body && {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
  })
  // A route that answers nothing.
  if (response.status === 204) return undefined as Reply<Method, Path>
  return (await response.json()) as Reply<Method, Path>
}

/** The same for what is no JSON. */
export async function send(address: string, init: RequestInit = {}): Promise<Response> {
  let response: Response
  try {
    response = await fetch(address, { ...init, headers: { accept: '*/*', ...init.headers } })
  } catch {
    if (init.signal?.aborted) throw init.signal.reason
    throw new CallFailed('ERR_NO_CONNECTION', 'VaultTerm cannot be reached from here', undefined)
  }
  if (response.ok) return response
  if (response.status === 401) location.assign('/login')
  throw await failureOf(response)
}

/** The path of a route with its parameters and what is asked for. */
export function addressOf(path: string, params: object = {}, query: object = {}): string {
  const values: { readonly [name: string]: unknown } = { ...params }
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name) => encodeURIComponent(`${values[name]}`))
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) search.set(name, `${value}`)
  return search.size === 0 ? filled : `${filled}?${search}`
}

async function failureOf(response: Response): Promise<CallFailed> {
  const told = await response.json().catch(() => undefined)
  const { code, message, requestId, purpose } = told?.error ?? {}
  if (typeof code === 'string') return new CallFailed(code, `${message}`, requestId, purpose)
  const id = response.headers.get('x-request-id') ?? undefined
  return new CallFailed('ERR_HTTP', `the server answered ${response.status}`, id)
}
