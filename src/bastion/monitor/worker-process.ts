import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { Socket as NetSocket, type Socket } from 'node:net'
import { background, type Log } from '../../log.ts'
import { type Figures, type KnownMetrics, parseFigures } from '../../metrics.ts'
import type { SessionId } from '../../recorder/index.ts'
import { WorkShare } from '../../work-share.ts'
import { callLimits } from '../wire/call-limits.ts'
import type { ConnectionId } from '../wire/calls.ts'
import { FilesExhausted } from '../wire/errors.ts'
import type { LeaseTimes } from '../wire/lease-times.ts'
import { MessagePipe, pipeDescriptors, workerFrameBytesMax } from '../wire/message-pipe.ts'
import {
  type FromWorker,
  fromWorkerShape,
  type Leave,
  type ToWorker,
  type WorkerSettings,
} from '../wire/messages.ts'
import type { Admitted } from './admission.ts'
import { WorkerFailed } from './errors.ts'
import { Handover } from './handover.ts'
import type { BastionMetrics } from './metrics.ts'
import { Monitor, type MonitorDeps } from './monitor.ts'
import { Pulse } from './pulse.ts'
import { unreadHoldsAnswers, WorkerCalls } from './worker-calls.ts'

export { workerThreads } from '../wire/worker-threads.ts'

/**
 * Starts the program of a worker, which waits for its settings. It has Node's channel, for sockets,
 * and a pipe as its descriptor 4, for all that is said.
 */
export type ForkWorker = () => ChildProcess

export interface WorkerOptions {
  readonly fork: ForkWorker
  readonly settings: WorkerSettings
  readonly deps: MonitorDeps
  readonly known: KnownMetrics
  /** Until when this node may serve now. */
  readonly lease: () => LeaseTimes | undefined
  /** A user has logged in on one of its connections. */
  readonly loggedIn: (source: string, user: string) => void
  readonly log: Log
}

const startMs = 30_000
/** Messages between two pings: the calls, and a few messages for each connection that was given. */
const messagesMax = 5 * callLimits.perPing
const messageBytesMax = 4 * callLimits.bytesPerPing
/**
 * An honest worker's unread data stays below this: answers wait at a lower limit, and other
 * messages are short.
 */
const unreadMax = 4 * unreadHoldsAnswers
const metricsMs = 1000
/** How long the messages of an ended worker are still read. */
const drainMs = 2000
/** A worker that hangs up usually exits by itself; after this time it is killed. */
const lastBreathMs = 2000

/** One worker process, as the main process sees it: the messages to it, and the checks on its messages. */
export class WorkerProcess {
  readonly number: number
  readonly startedAtMs = performance.now()
  readonly #process: ChildProcess
  readonly #monitor: Monitor
  readonly #log: Log
  readonly #calls: WorkerCalls
  readonly #workersKilled: BastionMetrics['workersKilled']
  readonly #ready = Promise.withResolvers<void>()
  readonly #over = Promise.withResolvers<void>()
  readonly #ended = Promise.withResolvers<void>()
  /** The pipe has been read to its end. */
  readonly #drained = Promise.withResolvers<void>()
  readonly #known: KnownMetrics
  readonly #lease: () => LeaseTimes | undefined
  readonly #metrics = new Map<number, (figures: Figures | undefined) => void>()
  /** Undefined for a worker that could not be started. */
  readonly #pipe: MessagePipe | undefined
  readonly #handover: Handover | undefined
  /** Closed as soon as the worker has them. */
  readonly #evicted = new Set<ConnectionId>()
  #lastMetrics: Figures | undefined
  /** Starts at 1; 0 marks a worker's own messages. */
  #messages = 1
  #heard = 0
  #heardBytes = 0
  readonly #pulse = new Pulse()
  /** Sessions and forwards that the worker was told to cut, each with the first number of a later ping. */
  readonly #cuts = new Map<string, number>()
  #isReady = false
  #isDraining = false
  #leave: Leave = 'restart'
  #isDrainTold = false
  #isSilent = false
  #isKilled = false
  #isGone = false

  /** Throws when no worker can be made at all. */
  constructor({ fork, settings, deps, known, lease, loggedIn, log }: WorkerOptions) {
    this.#lease = lease
    this.#known = known
    this.number = settings.worker
    this.#log = log.child({ worker: settings.worker })
    this.#workersKilled = deps.metrics.workersKilled
    this.#monitor = new Monitor({ ...deps, worker: settings.worker, loggedIn })
    this.#calls = new WorkerCalls({
      monitor: this.#monitor,
      turns: deps.callTurns,
      logPace: deps.logPace,
      forgedRequests: deps.metrics.forgedRequests,
      pipe: () => this.#pipe,
      kill: (why) => this.kill(why),
      isGone: () => this.#isKilled || this.#isGone,
      log: this.#log,
    })
    this.#process = fork()
    this.#process.on('error', (err) => {
      this.#log.error({ err }, 'worker error')
      if (this.pid === undefined) this.#gone('it could not be started')
    })
    this.#process.once('exit', (code, signal) => this.#exited(String(signal ?? code)))
    this.#process.once('disconnect', () => this.#hungUp())
    // Unhandled, a worker that never starts would end the main process.
    this.#ready.promise.catch(() => {})
    if (this.pid === undefined) return
    try {
      this.#handover = new Handover(this.#process, (what) => this.#misspoke(what))
      this.#pipe = this.#openPipe()
    } catch (err) {
      this.#process.kill('SIGKILL')
      throw err
    }
    const timer = setTimeout(() => this.kill('it did not start'), startMs)
    const stopTimer = () => clearTimeout(timer)
    this.#ready.promise.then(stopTimer, stopTimer)
    this.#send({ type: 'start', settings })
  }

  get pid(): number | undefined {
    return this.#process.pid
  }

  /** Rejects when it ended before. */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /** Resolves when the worker has ended. */
  get over(): Promise<void> {
    return this.#over.promise
  }

  /** Resolves when the worker has ended, after an attempt to end its sessions on record. */
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

  get isGone(): boolean {
    return this.#isGone
  }

  /** Whether it takes connections. */
  get isServing(): boolean {
    return this.#isReady && !this.#isDraining && !this.#isSilent && !this.#isGone
  }

  /** How many logins it has state. */
  get logins(): number {
    return this.#monitor.logins
  }

  /** How many pings in a row it has not answered. */
  get owed(): number {
    return this.#pulse.owed
  }

  /** It has not answered for too long. */
  get isHung(): boolean {
    return this.#pulse.isHung(this.#cuts.size > 0)
  }

  /** Its memory as the system counts it; undefined when the worker has ended. */
  get residentBytes(): number | undefined {
    try {
      const pages = readFileSync(`/proc/${this.pid}/statm`, 'utf8').split(' ')[1]
      return Number(pages) * 4096
    } catch {
      return undefined
    }
  }

  /** Gives it a connection, which from here on is its own. */
  serve(connection: ConnectionId, socket: Socket, source: string, admitted: Admitted): void {
    const cookie = this.#monitor.open(connection, source, admitted)
    const failed = () => this.#monitor.close(connection)
    if (this.#handover === undefined) return failed()
    this.#handover.give({ connection, source, cookie: cookie.toString('hex') }, socket, failed)
  }

  evict(connection: ConnectionId): void {
    // The worker cannot evict a socket that it has not received yet.
    if (this.#handover?.has(connection)) this.#evicted.add(connection)
    else this.#send({ type: 'evict', connection })
  }

  /**
   * The session is ended for the main process. A worker that goes on without reporting that it cut
   * the session is killed. An honest one reports it at once, and may take time to put the end on
   * record.
   */
  killSession(session: SessionId, reason: string): void {
    this.#monitor.kill(session, reason)
    this.#send({ type: 'kill', session, reason })
    this.#expectCut(session)
  }

  /** The same for one forward of a session that goes on. */
  endForward(forward: string, reason: string): void {
    if (!this.#monitor.revokeForward(forward, reason)) return
    this.#send({ type: 'endForward', forward, reason })
    this.#expectCut(forward)
  }

  ping(): void {
    // A worker has its own time to start in.
    if (!this.#isReady) return
    this.#heard = 0
    this.#heardBytes = 0
    if ((this.#pipe?.unread ?? 0) > unreadMax) return this.kill('it does not read')
    for (const id of this.#handover?.late() ?? []) this.#lost(id)
    const id = this.#messages++
    this.#pulse.pinged(id, this.pid)
    this.#send({ type: 'ping', id, lease: this.#lease() })
  }

  /** The metrics of its last report. */
  get lastMetrics(): Figures | undefined {
    return this.#lastMetrics
  }

  /** Its metrics; those of the last report if it does not answer. */
  async metrics(): Promise<Figures | undefined> {
    if (this.#isGone || !this.#isReady) return this.#lastMetrics
    const id = this.#messages++
    const { promise, resolve } = Promise.withResolvers<Figures | undefined>()
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

  /** The worker gets no further connections, and ends after its last session. */
  drain(leave: Leave): void {
    this.#isDraining = true
    this.#leave = leave
    this.#tellDrain()
  }

  /** Ends its sessions, each with a line for its user, and then itself. */
  stop(leave: Leave): void {
    this.#isDraining = true
    this.#send({ type: 'stop', leave })
  }

  /** What it had said before of its files is still read: a target has had those requests. */
  kill(why: string): void {
    if (this.#isGone || this.#isKilled) return
    this.#workersKilled.inc()
    this.#isKilled = true
    this.#isSilent = true
    this.#log.error({ why, pid: this.pid }, 'worker killed')
    this.#process.kill('SIGKILL')
  }

  /**
   * The worker reads its messages in order: when it answers a later ping, it has read the order to
   * cut.
   */
  #expectCut(id: string): void {
    if (this.#isReady && !this.#isGone) this.#cuts.set(id, this.#messages)
  }

  #cut(id: string): void {
    // Requested by this process, so the number does not matter.
    if (this.#cuts.delete(id)) this.#heard--
  }

  #ponged(id: number): void {
    if (id >= this.#messages) return this.#misspoke('an answer to a ping that was not sent')
    this.#pulse.ponged(id)
    for (const ping of this.#cuts.values()) {
      if (ping <= id) return this.kill('it does not close sessions or forwards that were ended')
    }
  }

  /** Those on their way are still its own: it would end without them. */
  #tellDrain(): void {
    if (!this.#isDraining || this.#isDrainTold || (this.#handover?.underWay ?? 0) > 0) return
    this.#isDrainTold = true
    this.#send({ type: 'drain', leave: this.#leave })
  }

  #openPipe(): MessagePipe {
    const stdio: readonly unknown[] = this.#process.stdio
    const from = stdio[pipeDescriptors.toMain]
    const to = stdio[pipeDescriptors.fromMain]
    if (!(from instanceof NetSocket && to instanceof NetSocket)) {
      throw new Error('a worker was forked without its pipe')
    }
    const handlers = {
      received: (message: unknown, bytes: number) => this.#received(message, bytes),
      failed: (why: string) => this.#misspoke(why),
      ended: () => {
        this.#drained.resolve()
        this.#hungUp()
      },
    }
    return new MessagePipe({ from, to }, handlers, workerFrameBytesMax, new WorkShare())
  }

  #send(message: ToWorker): void {
    this.#pipe?.send(message)
  }

  /** The worker no longer reads from us. If it does not end by itself, it is killed. */
  #hungUp(): void {
    if (this.#isSilent || this.#isGone) return
    this.#isSilent = true
    setTimeout(() => this.kill('it does not answer'), lastBreathMs).unref()
  }

  #misspoke(what: string): void {
    if (this.#isGone || this.#isSilent) return
    this.#log.error({ what }, 'a worker was not understood')
    this.kill('it sent a message that no worker sends')
  }

  /** Its last messages are still in the pipe: they have the file operations of its sessions. */
  #exited(how: string): void {
    if (this.#pipe === undefined) return this.#gone(how)
    this.#pipe.readOut()
    const timer = setTimeout(() => this.#drained.resolve(), drainMs)
    const gone = this.#drained.promise.then(() => {
      clearTimeout(timer)
      this.#gone(how)
    })
    background(gone, this.#log, 'the end of a worker')
  }

  #gone(how: string): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#pipe?.close()
    this.#handover?.close()
    for (const answered of this.#metrics.values()) answered(undefined)
    this.#ready.reject(new WorkerFailed(how))
    this.#over.resolve()
    this.#log.info({ how, sessions: this.#monitor.sessions }, 'worker ended')
    // When this process ends before they are on record, the next start's recovery does it.
    const left = this.#monitor.lost().finally(() => this.#ended.resolve())
    background(left, this.#log, 'the sessions of a worker')
  }

  #received(message: unknown, bytes: number): void {
    if (this.#isKilled) return this.#receivedLast(message)
    this.#heardBytes += bytes
    if (++this.#heard > messagesMax || this.#heardBytes > messageBytesMax) {
      return this.kill('it sends too much')
    }
    const parsed = fromWorkerShape.safeParse(message)
    if (!parsed.success) {
      // An honest worker checks its messages by the same shape before it sends them.
      this.#log.error({ issues: parsed.error.issues.slice(0, 3) }, 'a worker was not understood')
      return this.kill('it sent a message that no worker sends')
    }
    const said = parsed.data
    switch (said.type) {
      case 'ready':
        this.#isReady = true
        this.ping()
        return this.#ready.resolve()
      case 'pong':
        return this.#ponged(said.id)
      case 'cut':
        return this.#cut(said.id)
      case 'taken':
        return this.#taken(said.connection)
      case 'closed':
        return this.#lost(said.connection)
      case 'left':
        return this.#monitor.left(said.connection, said.how)
      case 'files':
        return this.#noteFiles(said)
      case 'recorded':
        return this.#monitor.recorded(said.connection, said.session, said.point)
      case 'metrics':
        this.#lastMetrics = parseFigures(said.metrics, this.#known) ?? this.#lastMetrics
        return this.#metrics.get(said.id)?.(this.#lastMetrics)
      case 'call':
        return background(this.#calls.answer(said.id, said.call, bytes), this.#log, 'an answer')
    }
  }

  /** Nothing is done any more for a worker that was killed, but what it did is put on record. */
  #receivedLast(message: unknown): void {
    const { data: said } = fromWorkerShape.safeParse(message)
    if (said?.type === 'files') this.#noteFiles(said)
    if (said?.type === 'recorded') {
      this.#monitor.recorded(said.connection, said.session, said.point)
    }
  }

  #taken(connection: ConnectionId): void {
    this.#handover?.taken(connection)
    if (this.#evicted.delete(connection)) this.#send({ type: 'evict', connection })
    this.#tellDrain()
  }

  #lost(connection: ConnectionId): void {
    this.#taken(connection)
    this.#monitor.close(connection)
  }

  #noteFiles({ connection, session, notes }: Extract<FromWorker, { type: 'files' }>): void {
    try {
      this.#monitor.noteFiles(connection, session, notes)
    } catch (err) {
      // There is no answer by which the worker would hear of it.
      if (err instanceof FilesExhausted) this.killSession(session, err.message)
      else this.#calls.failed('files', err)
    }
  }
}
