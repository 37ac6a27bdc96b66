import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { Log } from '../log.ts'
import type { Admitted } from './admission.ts'
import type { ConnectionId } from './broker.ts'
import { WorkerFailed } from './errors.ts'
import {
  type Call,
  errorMessage,
  fromWorkerShape,
  type ToWorker,
  type WorkerSettings,
} from './messages.ts'
import { ConnectionUnknown, Monitor, type MonitorDeps, RequestForged } from './monitor.ts'

/** Starts the program of a worker, which waits for its settings. */
export type ForkWorker = () => ChildProcess

export interface WorkerOptions {
  readonly fork: ForkWorker
  readonly settings: WorkerSettings
  readonly deps: MonitorDeps
  readonly log: Log
}

const startMs = 30_000
/** What a worker may ask at a time. An honest one asks a few things a connection. */
const callsMax = 20_000
/** What a worker may say between two pings. One login takes some ten messages. */
const messagesMax = 50_000
const metricsMs = 1000

/** One worker process, as the main process sees it: what goes to it, and what it is believed. */
export class Worker {
  readonly number: number
  readonly startedAtMs = performance.now()
  readonly #process: ChildProcess
  readonly #monitor: Monitor
  readonly #log: Log
  readonly #ready = Promise.withResolvers<void>()
  readonly #ended = Promise.withResolvers<void>()
  readonly #metrics = new Map<number, (text: string | undefined) => void>()
  #lastMetrics: string | undefined
  /** From 1: 0 is what a worker says unasked. */
  #messages = 1
  #calls = 0
  #heard = 0
  /** Pings since the last answer. Counted, not timed: when we stand still, it is not the worker's fault. */
  #owed = 0
  #isReady = false
  #isDraining = false
  #isGone = false

  constructor({ fork, settings, deps, log }: WorkerOptions) {
    this.number = settings.worker
    this.#log = log.child({ worker: settings.worker })
    this.#monitor = new Monitor(deps)
    this.#process = fork()
    const timer = setTimeout(() => this.kill('it did not start'), startMs)
    this.#ready.promise.then(
      () => clearTimeout(timer),
      () => clearTimeout(timer),
    )
    this.#process.on('message', (message) => this.#received(message))
    this.#process.on('error', (err) => this.#log.error({ err }, 'worker error'))
    this.#process.once('exit', (code, signal) => {
      this.#isGone = true
      for (const answered of this.#metrics.values()) answered(undefined)
      this.#ready.reject(new WorkerFailed(String(signal ?? code)))
      this.#log.info({ code, signal, sessions: this.#monitor.sessions }, 'worker ended')
      this.#monitor
        .lost()
        .catch((err: unknown) =>
          this.#log.error({ err }, 'sessions of a lost worker could not be ended on record'),
        )
        .finally(() => this.#ended.resolve())
    })
    // Unhandled, a worker that never starts would end the main process.
    this.#ready.promise.catch(() => {})
    this.#send({ type: 'start', settings })
  }

  get pid(): number | undefined {
    return this.#process.pid
  }

  /** Rejects when it ended before. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /** Resolves when it is no more, and what it left is on record. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  get connections(): number {
    return this.#monitor.connections
  }

  get sessions(): number {
    return this.#monitor.sessions
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  get isReady(): boolean {
    return this.#isReady
  }

  get isGone(): boolean {
    return this.#isGone
  }

  /** How many logins it has served. */
  get logins(): number {
    return this.#monitor.logins
  }

  /** How many pings in a row it has not answered. */
  get owed(): number {
    return this.#owed
  }

  /** Its memory, as the system counts it and not as it says; undefined when it is no more. */
  get residentBytes(): number | undefined {
    try {
      const pages = readFileSync(`/proc/${this.pid}/statm`, 'utf8').split(' ')[1]
      return Number(pages) * 4096
    } catch {
      return undefined
    }
  }

  /** Gives it a connection, which from here on is its own. */
  serve(id: ConnectionId, socket: Socket, source: string, admitted: Admitted): void {
    this.#monitor.open(id, source, admitted)
    this.#process.send({ type: 'connection', connection: id, source }, socket, {}, (err) => {
      if (err !== null) this.#monitor.close(id)
    })
  }

  evict(id: ConnectionId): void {
    this.#send({ type: 'evict', connection: id })
  }

  killSession(session: Extract<ToWorker, { type: 'kill' }>['session'], reason: string): void {
    this.#send({ type: 'kill', session, reason })
  }

  ping(): void {
    // It has its own time to start in.
    if (!this.#isReady) return
    this.#owed++
    this.#heard = 0
    this.#send({ type: 'ping', id: this.#messages++ })
  }

  /** What its registry was when it was last heard of. */
  get lastMetrics(): string | undefined {
    return this.#lastMetrics
  }

  /** Prometheus' JSON of its registry: an old one when it does not answer. */
  async metrics(): Promise<string | undefined> {
    if (this.#isGone || !this.#isReady) return this.#lastMetrics
    const id = this.#messages++
    const { promise, resolve } = Promise.withResolvers<string | undefined>()
    this.#metrics.set(id, resolve)
    const timer = setTimeout(() => resolve(undefined), metricsMs)
    this.#send({ type: 'metrics', id })
    try {
      return (await promise) ?? this.#lastMetrics
    } finally {
      clearTimeout(timer)
      this.#metrics.delete(id)
    }
  }

  /** Gets no more connections, and ends when its last session has. */
  drain(): void {
    if (this.#isDraining) return
    this.#isDraining = true
    this.#send({ type: 'drain' })
  }

  /** Ends its sessions, each with a line for its user, and then itself. */
  stop(): void {
    this.#isDraining = true
    this.#send({ type: 'stop' })
  }

  kill(why: string): void {
    if (this.#isGone) return
    this.#log.error({ why, pid: this.pid }, 'worker killed')
    this.#process.kill('SIGKILL')
  }

  #send(message: ToWorker): void {
    if (this.#process.connected) this.#process.send(message, () => {})
  }

  #received(message: unknown): void {
    if (++this.#heard > messagesMax) return this.kill('it says too much')
    const parsed = fromWorkerShape.safeParse(message)
    if (!parsed.success) {
      // An honest worker says nothing like it.
      this.#log.error({ issues: parsed.error.issues.slice(0, 3) }, 'a worker was not understood')
      return this.kill('it said what no worker says')
    }
    const said = parsed.data
    switch (said.type) {
      case 'ready':
        this.#isReady = true
        return this.#ready.resolve()
      case 'pong':
        this.#owed = 0
        return
      case 'closed':
        return this.#monitor.close(said.connection)
      case 'left':
        return this.#monitor.left(said.connection, said.how)
      case 'metrics':
        this.#lastMetrics = said.metrics
        return this.#metrics.get(said.id)?.(said.metrics)
      case 'call':
        return void this.#answer(said.id, said.call)
    }
  }

  async #answer(id: number, call: Call): Promise<void> {
    if (++this.#calls > callsMax) return this.kill('it asks for too much at a time')
    try {
      this.#send({ type: 'answer', id, value: await callMonitor(this.#monitor, call) })
    } catch (err) {
      if (err instanceof ConnectionUnknown) {
        this.#log.debug({ method: call.method }, 'a worker asked about a connection that has ended')
      } else if (err instanceof RequestForged) {
        this.#log.error({ method: call.method, err }, 'a worker asked for what is not its own')
      } else if (errorMessage(err) === undefined) {
        this.#log.error({ method: call.method, err }, 'a call of a worker failed')
      }
      this.#send({ type: 'failure', id, error: errorMessage(err) })
    } finally {
      this.#calls--
    }
  }
}

/** Asks a monitor what a worker asks. */
export function callMonitor(monitor: Monitor, call: Call): Promise<unknown> {
  switch (call.method) {
    case 'login':
      return monitor.login(...call.args)
    case 'openJump':
      return monitor.openJump(...call.args)
    case 'enterJump':
      return monitor.enterJump(...call.args)
    case 'authorize':
      return monitor.authorize(call.args[0], call.args[1], call.args[2])
    case 'choices':
      return monitor.choices(...call.args)
    case 'startSession':
      return monitor.startSession(...call.args)
    case 'leaseKey':
      return monitor.leaseKey(...call.args)
    case 'checkHostKey':
      return monitor.checkHostKey(...call.args)
    case 'sign':
      return monitor.sign(...call.args)
    case 'upstreamOpened':
      return monitor.upstreamOpened(...call.args)
    case 'openForward':
      return monitor.openForward(...call.args)
    case 'recordFiles':
      return monitor.recordFiles(...call.args)
    case 'closeForward':
      return monitor.closeForward(...call.args)
    case 'endSession':
      return monitor.endSession(...call.args)
  }
}
