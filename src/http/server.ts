import { randomUUID } from 'node:crypto'
import { Socket } from 'node:net'
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import { ConnectionRoom } from './connection-room.ts'
import { FieldInvalid, RouteMissing } from './errors.ts'
import { securityHeaders } from './headers.ts'
import { httpMetrics } from './metrics.ts'
import { checkHost, checkOrigin, hostOf } from './origin.ts'
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
}

const bodyBytesMax = 64 * 1024
const headerBytesMax = 16 * 1024
const headersMax = 100
const requestMs = 15_000
const headersMs = 10_000
const idleMs = 60_000
const keepAliveMs = 10_000
const defaultConnectionsMax = 1024
const connectionsCheckingInterval = 1000

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
}: HttpOptions): FastifyInstance {
  const scope: FastifyBaseLogger = log.child({ module: 'http', listener })
  const metrics = httpMetrics(registry)
  const publicHost = publicUrl === undefined ? undefined : hostOf(publicUrl)
  const publicHosts = publicHost === undefined ? [] : [publicHost]
  const headers = securityHeaders(publicUrl?.startsWith('https:') ?? false)
  const console = listener === 'admin' ? 'Admin' : undefined

  const app = fastify({
    loggerInstance: scope,
    // A sign-in link's token is in its address: addresses are not logged, routes are.
    logController: new LogController({ disableRequestLogging: true }),
    requestIdHeader: false,
    genReqId: () => randomUUID(),
    trustProxy: false,
    exposeHeadRoutes: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: requestMs,
    connectionTimeout: idleMs,
    keepAliveTimeout: keepAliveMs,
    forceCloseConnections: true,
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    routerOptions: { maxParamLength: 100, ignoreTrailingSlash: false },
    // Node looks at its limits every 30 s, which would let a slow request stay so long.
    http: { maxHeaderSize: headerBytesMax, headersTimeout: headersMs, connectionsCheckingInterval },
    frameworkErrors(err, request, reply) {
      reply.headers(headers)
      sendProblem(request, reply, problemOf(err), console)
    },
    clientErrorHandler(_err, socket) {
      refuseMalformed(socket)
    },
  })
  requireRights(app)
  app.server.maxHeadersCount = headersMax

  limitConnections(app, new ConnectionRoom(connectionsMax), new ReaderPace(readerPace))
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(headers)
    reply.header('x-request-id', request.id)
    checkHost(request, publicHosts)
    checkOrigin(request)
  })
  app.addHook('onResponse', async (request, reply) => {
    const status = `${Math.floor(reply.statusCode / 100)}xx`
    metrics.requests.inc({ listener, status })
    metrics.seconds.observe({ listener }, reply.elapsedTime / 1000)
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
    const problem = problemOf(err)
    if (problem.status === 500) {
      scope.error({ err, request: request.id, route: request.routeOptions.url }, 'request failed')
    }
    sendProblem(request, reply, problem, console)
  })
  app.setNotFoundHandler(async () => {
    throw new RouteMissing()
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

function limitConnections(app: FastifyInstance, room: ConnectionRoom, pace: ReaderPace): void {
  app.server.on('connection', (socket) => {
    room.enter(socket)
    pace.watch(socket)
  })
  app.server.once('listening', () => {
    const checking = setInterval(() => pace.check(), connectionsCheckingInterval)
    app.server.once('close', () => clearInterval(checking))
  })
  app.addHook('onRequest', async (request, reply) => {
    const { socket } = request.raw
    // Requests that are not sent over a socket have no connection: tests make them.
    if (!(socket instanceof Socket)) return
    const mayGoOn = await room.ask(socket, reply.raw)
    if (!mayGoOn) return reply.hijack()
  })
  // Runs when the body is there too.
  app.addHook('preHandler', async (request, reply) => {
    room.answer(request.raw.socket, reply.raw)
  })
}

/** Bytes that are not HTTP never become a request; they get the shortest answer. */
function refuseMalformed(socket: Socket): void {
  if (!socket.writable) return void socket.destroy()
  const body = '{"error":{"code":"ERR_REQUEST_INVALID","message":"the request is malformed"}}'
  socket.end(
    `HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n` +
      `content-length: ${body.length}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n${body}`,
  )
}
