import { randomUUID } from 'node:crypto'
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from 'fastify'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { ConnectionRoom } from './connection-room.ts'
import { Entrance, type StartLimits } from './entrance.ts'
import { FieldInvalid, MethodNotAllowed, RequestAbandoned, RouteMissing } from './errors.ts'
import { securityHeaders } from './headers.ts'
import { methodsAt } from './methods.ts'
import { httpMetrics } from './metrics.ts'
import { checkHost, checkOrigin, hostOf } from './origin.ts'
import { PageWork } from './page-work.ts'
import { problemOf, sendProblem } from './problem.ts'
import { ReaderPace, type ReaderPaceLimits } from './reader-pace.ts'
import { requireRights } from './rights.ts'

export interface HttpOptions {
  /** Which listener this is, in logs, metrics and on pages. */
  readonly listener: 'portal' | 'admin'
  /** The address that people type into a browser, beside the listener's own address. */
  readonly publicUrl: string | undefined
  readonly log: Log
  readonly metrics: Metrics
  /** Connections at the same time. */
  readonly connectionsMax?: number
  /** How slowly an answer may be read. */
  readonly readerPace?: ReaderPaceLimits
  /** How fast they may be opened. */
  readonly starts?: StartLimits | undefined
}

const bodyBytesMax = 64 * 1024
const headerBytesMax = 16 * 1024
const headersMax = 100
const checkMs = 1000
const idleMs = 60_000
const keepAliveMs = 10_000
const httpLimits = {
  maxHeaderSize: headerBytesMax,
  keepAliveTimeout: keepAliveMs,
}
const defaultConnectionsMax = 1024
const defaultStarts: StartLimits = { startsPerSecondMax: 200, exempt: [] }

/**
 * A server without routes. Register routes, each with its right, then listen; close() ends it with its
 * connections.
 */
export function createHttp({
  listener,
  publicUrl,
  log,
  metrics: registry,
  connectionsMax = defaultConnectionsMax,
  readerPace,
  starts = defaultStarts,
}: HttpOptions): FastifyInstance {
  const scope: FastifyBaseLogger = log.child({ module: 'http', listener })
  const metrics = httpMetrics(registry)
  const publicHost = publicUrl === undefined ? undefined : hostOf(publicUrl)
  const publicHosts = publicHost === undefined ? [] : [publicHost]
  const headers = securityHeaders(publicUrl?.startsWith('https:') ?? false)
  const console = listener === 'admin' ? 'Admin' : undefined

  const room = new ConnectionRoom(connectionsMax)
  const pace = new ReaderPace(readerPace)
  // A listener has a share of its own: a flood of the portal does not reach the admin plane.
  const work = new PageWork()
  const onRefusal = (reason: string) => metrics.refusals.inc({ listener, reason })
  const entrance = new Entrance({ room, pace, work, starts, http: httpLimits, idleMs, onRefusal })
  const count = (reply: FastifyReply) => {
    const status = `${Math.floor(reply.statusCode / 100)}xx`
    metrics.requests.inc({ listener, status })
    metrics.seconds.observe({ listener }, reply.elapsedTime / 1000)
  }
  const check = (request: FastifyRequest, reply: FastifyReply) => {
    reply.headers(headers)
    reply.header('x-request-id', request.id)
    checkHost(request, publicHosts)
    checkOrigin(request)
  }

  const app = fastify({
    serverFactory: entrance.serverFactory,
    loggerInstance: scope,
    // A sign-in link's token is in its address: addresses are not logged, routes are.
    logController: new LogController({ disableRequestLogging: true }),
    requestIdHeader: false,
    genReqId: () => randomUUID(),
    trustProxy: false,
    exposeHeadRoutes: false,
    bodyLimit: bodyBytesMax,
    forceCloseConnections: true,
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    routerOptions: { maxParamLength: 100, ignoreTrailingSlash: false },
    // A malformed address: Fastify runs no hook for it.
    frameworkErrors(err, request, reply) {
      reply.raw.once('finish', () => count(reply))
      sendProblem(request, reply, problemOf(refusalBy(check, request, reply) ?? err), console)
    },
    clientErrorHandler(_err, socket) {
      entrance.refuseMalformed(socket)
    },
  })
  requireRights(app)
  app.server.maxHeadersCount = headersMax

  app.decorate('entrance', entrance)
  app.decorate('publicUrl', publicUrl)
  checkConnections(app, () => {
    pace.check()
    entrance.check()
  })
  app.addHook('onRequest', async (request, reply) => check(request, reply))
  // Runs when the body is there too.
  app.addHook('preHandler', async (request, reply) => {
    room.answer(request.raw.socket, reply.raw)
  })
  app.addHook('onResponse', async (request, reply) => {
    count(reply)
    scope.debug(
      {
        request: request.id,
        method: request.method,
        route: request.routeOptions.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      },
      'request answered',
    )
  })
  app.setErrorHandler((err, request, reply) => {
    // Its client left while it sent the body: no failure of ours.
    const hasLeft = request.raw.destroyed && !request.raw.complete
    const problem = problemOf(hasLeft ? new RequestAbandoned() : err)
    if (problem.status === 500) {
      scope.error({ err, request: request.id, route: request.routeOptions.url }, 'request failed')
    }
    sendProblem(request, reply, problem, console)
  })
  app.setNotFoundHandler(async ({ url }) => {
    const methods = methodsAt(app.routeRights, url.split('?')[0] ?? '')
    throw methods.length > 0 ? new MethodNotAllowed(methods) : new RouteMissing()
  })
  // Forms of the pages, and JSON of the API; each handler refuses the other one.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(
    'application/json',
    { parseAs: 'string' },
    async (_request: unknown, body: string) => parseJson(body),
  )
  app.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string' },
    async (_request: unknown, body: string) => new URLSearchParams(body),
  )
  return app
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    // The parser's own message quotes the body.
    throw new FieldInvalid('body', 'is not JSON')
  }
}

function checkConnections(app: FastifyInstance, check: () => void): void {
  app.server.once('listening', () => {
    const checking = setInterval(check, checkMs)
    app.server.once('close', () => clearInterval(checking))
  })
}

/** What the check throws. */
function refusalBy(
  check: (request: FastifyRequest, reply: FastifyReply) => void,
  request: FastifyRequest,
  reply: FastifyReply,
): unknown {
  try {
    check(request, reply)
  } catch (err) {
    return err
  }
  return undefined
}
