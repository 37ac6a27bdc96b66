import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { CodedError, type ErrorCode, type ErrorKind, errorCode } from '../errors.ts'
import { HostUnknown, MethodNotAllowed, StepUpRequired, TooOften } from './errors.ts'
import { html } from './html.ts'
import { page } from './page.ts'

/** The part of an error that a stranger may see. */
export interface Problem {
  readonly status: number
  readonly code: ErrorCode
  readonly message: string
  /** What the answer's head says beside it. */
  readonly headers?: { readonly [name: string]: string }
  /** What a fresh proof is needed for. */
  readonly purpose?: string
}

const statuses: { readonly [kind in ErrorKind]: number } = {
  invalid: 400,
  unauthenticated: 401,
  denied: 403,
  missing: 404,
  conflict: 409,
  precondition: 412,
  sealed: 423,
  'step-up': 428,
  limited: 429,
  unavailable: 503,
}

const requestProblems: { readonly [status: number]: Omit<Problem, 'status'> } = {
  400: { code: 'ERR_REQUEST_INVALID', message: 'the request is malformed' },
  404: { code: 'ERR_NOT_FOUND', message: 'there is nothing here' },
  413: { code: 'ERR_REQUEST_TOO_LARGE', message: 'the request is too large' },
  414: { code: 'ERR_REQUEST_TOO_LARGE', message: 'the address is too long' },
  415: {
    code: 'ERR_REQUEST_TYPE',
    message: 'this content type is not accepted',
  },
}

/** The reply to an error. For a bug or an outage it has no details. */
export function problemOf(err: unknown): Problem {
  if (err instanceof HostUnknown) return { status: 421, code: err.code, message: err.message }
  if (err instanceof MethodNotAllowed) {
    const headers = { allow: err.allowed.join(', ') }
    return { status: 405, code: err.code, message: err.message, headers }
  }
  if (err instanceof CodedError) {
    const problem = { status: statuses[err.kind], code: err.code, message: err.message }
    if (err instanceof StepUpRequired) return { ...problem, purpose: err.purpose }
    if (err.kind !== 'limited') return problem
    const seconds = err instanceof TooOften ? err.retryAfterSeconds : 1
    return { ...problem, headers: { 'retry-after': String(seconds) } }
  }
  // Fastify's own refusals of a request; their messages can quote it.
  if (isFastifyError(err) && err.statusCode !== undefined && err.statusCode < 500) {
    const known = requestProblems[err.statusCode] ?? requestProblems[400]
    if (known !== undefined) return { status: err.statusCode, ...known }
  }
  return { status: 500, code: 'ERR_INTERNAL', message: 'an internal error occurred' }
}

function isFastifyError(err: unknown): err is FastifyError {
  return errorCode(err)?.startsWith('FST_') === true
}

/** Whether a person in a browser will read the reply. */
export function wantsPage(request: FastifyRequest): boolean {
  return !request.url.startsWith('/api/') && (request.headers.accept ?? '').includes('text/html')
}

/** Sends an error: the contract's object, or a page. */
export function sendProblem(
  request: FastifyRequest,
  reply: FastifyReply,
  { status, code, message, headers = {}, purpose }: Problem,
  console: string | undefined,
): void {
  reply.code(status).headers(headers)
  const requestId = request.id
  if (!wantsPage(request)) {
    const error = { code, message, requestId, ...(purpose !== undefined && { purpose }) }
    reply.type('application/json; charset=utf-8').send({ error })
    return
  }
  const document = page({
    title: status === 404 ? 'Not found' : 'Refused',
    ...(console === undefined ? {} : { console }),
    body: html`<div class="empty"><p class="crumb">${status}</p>
<h1>${sentence(message)}</h1>
<p><a class="button strong" href="/">Back to the start</a></p>
<p class="small quiet">${code} · request <code>${requestId}</code> · ${new Date().toISOString().slice(0, 19).replace('T', ' ')} UTC</p>
</div>`,
  })
  reply.type('text/html; charset=utf-8').send(document.toString())
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}
