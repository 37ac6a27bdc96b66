import type { Authorization, ChannelKind, Denial } from '../access/index.ts'
import { CodedError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Recording, SessionId } from '../recorder/index.ts'
import {
  type Channel,
  type ChannelRequest,
  Reader,
  receiveWindowBytes,
  WireError,
} from '../ssh/index.ts'
import type { ConnectionId } from './broker.ts'
import type { ServiceDeps } from './deps.ts'
import { environmentMax, mayCarry } from './environment.ts'
import { RecorderFailed, SessionKilled, TargetFailed } from './errors.ts'
import { FileWatch } from './file-watch.ts'
import type { Loan } from './forwards.ts'
import { Loans } from './loans.ts'
import type { Choice } from './menu.ts'
import { encodeSize, type Pty, parsePty, parseSize } from './pty.ts'
import { type Refusal, refusalLine, refusalOf } from './refusal.ts'
import { type Exit, Relay } from './relay.ts'
import { TargetChoice } from './target-choice.ts'
import { inTime, startOnTarget, type TargetStart } from './target-start.ts'

/** What the connection around a session knows and lends. */
export interface Visit {
  readonly deps: ServiceDeps
  readonly connection: ConnectionId
  readonly log: Log
  readonly clientIdent: string
  /** For the title of what is chosen from. */
  readonly tenant: string
  /** What the certificate that the client came with allows; all without one. */
  readonly mayHavePty: boolean
  readonly forceCommand: string | undefined
  authorize(kind: ChannelKind, target?: string): Promise<Authorization | Denial>
  /** The targets that may be chosen from. */
  choices(): Promise<readonly Choice[]>
  /** The connection to the target: dialled once, then shared by this client's sessions there. */
  openTarget(authorization: Authorization, session: SessionId): Promise<Channel>
  /** Lets the target of a session open channels to the client's agent or display, until it is called off. */
  lend(authorization: Authorization, loan: Loan): Promise<() => void>
  /** A short name of this refusal or session start, for the person and the log. */
  requestId(): string
  /** Few starts of one connection are underway at a time: the others wait. */
  takeTurn(): Promise<Disposable>
  /** Why a session must end, where word of it came before its channel knew which session it is. */
  killed(session: SessionId): string | undefined
}

/** What a client wants to run, and its request for that. */
interface Start extends Pick<TargetStart, 'kind' | 'command'> {
  readonly request: ChannelRequest
}

const earlyRequestsMax = 64
/** What a client may send before there is anything to send it to. */
export const earlyWindowBytes = 64 * 1024
const earlyPiecesMax = 256
/** A signal, a break: what a client asks of what runs is short. */
const requestBytesMax = 256
/** How long a channel may be open and ask for nothing. */
const askMs = 120_000

/** How long a client may take to accept the last line before its channel is simply closed. */
const farewellMs = 1000
/** How long a target may take to end what it runs once the client has gone. */
const lingerMs = 5000

/**
 * One session channel of a client's: what it asks for before it starts, the start itself, the relay,
 * and the end. Whatever happens, the client gets one clear line or an exit status, and the log an end.
 */
export class SessionChannel {
  readonly #channel: Channel
  readonly #visit: Visit
  readonly #over: () => void
  readonly #patience: NodeJS.Timeout
  readonly #environment: [name: string, value: string][] = []
  #pty: Pty | undefined
  /** Of an SFTP session. */
  #files: FileWatch | undefined
  /** While a target is chosen. */
  #choice: TargetChoice | undefined
  #typedAhead: Buffer | undefined
  readonly #loans: Loans
  #phase: 'asking' | 'starting' | 'relaying' | 'over' = 'asking'
  /** What came while the target was being dialled: no more than a window of data. */
  readonly #early: Buffer[] = []
  #earlyEof = false
  readonly #earlyRequests: ChannelRequest[] = []
  #clientGone = false
  /** They have closed, and wait for how it ended. */
  #clientLeaves = false
  #relay: Relay | undefined
  #target: Channel | undefined
  #recording: Recording | undefined
  #session: SessionId | undefined
  #authorization: Authorization | undefined
  #exit: Exit = {}
  #kind: Start['kind'] = 'shell'

  /** over is called exactly once, when nothing of the session is left. */
  constructor(channel: Channel, visit: Visit, over: () => void) {
    this.#channel = channel
    this.#visit = visit
    this.#over = over
    this.#loans = new Loans({
      authorize: (kind) => visit.authorize(kind),
      lend: (loan) => {
        if (this.#authorization === undefined) throw new Error('no loan without leave')
        return visit.lend(this.#authorization, loan)
      },
      log: visit.log,
    })
    this.#patience = setTimeout(() => {
      channel.close()
      this.#leave()
    }, askMs).unref()
    channel.handle({
      data: (chunk) => {
        if (this.#relay !== undefined) this.#relay.client.data(chunk)
        else if (this.#choice !== undefined) {
          this.#choice.input(chunk)
          channel.consumed(chunk.length)
        }
        // Not given back to the window: the client can send no more than one of it until we start.
        else if (this.#phase !== 'over') this.#keepEarly(chunk)
      },
      extendedData: (_kind, chunk) => channel.consumed(chunk.length),
      request: (request) => this.#requested(request),
      eof: () => {
        if (this.#relay !== undefined) this.#relay.client.eof()
        else this.#earlyEof = true
      },
      leaving: () => {
        this.#clientLeaves = true
        if (this.#relay === undefined) return channel.close()
        this.#relay.client.leaving?.()
        setTimeout(() => void this.#close('client-gone'), lingerMs).unref()
      },
      close: () => {
        this.#clientGone = true
        this.#choice?.end()
        if (this.#relay !== undefined) {
          this.#relay.client.close()
          // A target that does not answer must not keep the session of somebody who has left.
          setTimeout(() => void this.#close('client-gone'), lingerMs).unref()
        } else if (this.#phase === 'asking') this.#leave()
      },
    })
  }

  get session(): SessionId | undefined {
    return this.#session
  }

  get live(): boolean {
    return this.#phase === 'starting' || this.#phase === 'relaying'
  }

  /** Ends a live session with a line for its user. */
  end(reason: CodedError, outcome: string): void {
    if (this.#phase === 'over') return
    this.#farewell(refusalOf(reason))
    void this.#close(outcome)
  }

  /** Many small pieces are made few: each would cost more than what is in it. */
  #keepEarly(chunk: Buffer): void {
    this.#early.push(chunk)
    if (this.#early.length > earlyPiecesMax)
      this.#early.splice(0, Infinity, Buffer.concat(this.#early))
  }

  #requested(request: ChannelRequest): void {
    try {
      if (this.#phase === 'asking') this.#ask(request)
      else if (this.#phase === 'relaying') this.#duringRelay(request)
      else if (this.#choice !== undefined && request.name === 'window-change') {
        this.#resizeChoice(request)
      } else if (this.#phase === 'starting' && this.#earlyRequests.length < earlyRequestsMax)
        this.#earlyRequests.push(request)
      else request.reply(false)
    } catch (err) {
      // A payload that its own RFC does not allow: the request fails, the session goes on.
      if (!(err instanceof WireError)) this.#visit.log.error({ err }, 'channel request failed')
      request.reply(false)
    }
  }

  #resizeChoice(request: ChannelRequest): void {
    const size = parseSize(request.payload)
    if (this.#pty !== undefined) this.#pty = { ...this.#pty, ...size }
    this.#choice?.resize(size)
    request.reply(true)
  }

  /** Before the start. Answered at once: some clients wait for each answer before they go on. */
  #ask(request: ChannelRequest): void {
    switch (request.name) {
      case 'pty-req':
        if (!this.#visit.mayHavePty) return request.reply(false)
        this.#pty = parsePty(request.payload)
        return request.reply(true)
      case 'window-change':
        if (this.#pty !== undefined) this.#pty = { ...this.#pty, ...parseSize(request.payload) }
        return request.reply(true)
      case 'env':
        return request.reply(this.#setEnvironment(request.payload))
      case 'shell':
        return this.#begin({ kind: 'shell', request, command: undefined })
      case 'exec':
        return this.#begin({ kind: 'exec', request, command: readString(request.payload) })
      case 'subsystem': {
        const name = readString(request.payload).toString('latin1')
        if (name === 'sftp') return this.#begin({ kind: 'sftp', request, command: undefined })
        return request.reply(false)
      }
      case 'auth-agent-req@openssh.com':
      case 'x11-req':
        return this.#loans.ask(request.name === 'x11-req' ? 'x11' : 'agent', request)
      default:
        return request.reply(false)
    }
  }

  #setEnvironment(payload: Buffer): boolean {
    const reader = new Reader(payload)
    const name = reader.string().toString('latin1')
    const value = reader.string().toString('latin1')
    reader.end()
    if (this.#environment.length >= environmentMax || !mayCarry(name, value)) return false
    this.#environment.push([name, value])
    return true
  }

  #duringRelay(request: ChannelRequest): void {
    const target = this.#target
    switch (request.name) {
      case 'window-change': {
        const size = parseSize(request.payload)
        this.#recording?.resize(size.cols, size.rows)
        void target?.request('window-change', encodeSize(size), false)
        return request.reply(true)
      }
      case 'signal':
      case 'break':
      case 'eow@openssh.com':
        if (request.payload.length > requestBytesMax) return request.reply(false)
        void target
          ?.request(request.name, request.payload, request.wantReply)
          .then((success) => request.reply(success))
        return
      default:
        // RFC 4254 section 6.5: only one shell, exec or subsystem a channel; env comes before it.
        return request.reply(false)
    }
  }

  #begin(asked: Start): void {
    const { forceCommand } = this.#visit
    const start: Start =
      forceCommand === undefined
        ? asked
        : { kind: 'exec', request: asked.request, command: Buffer.from(forceCommand) }
    this.#phase = 'starting'
    clearTimeout(this.#patience)
    this.#loans.end()
    this.#kind = start.kind
    this.#start(start).catch((err: unknown) => this.#fail(start, err))
  }

  async #start(start: Start): Promise<void> {
    const { deps } = this.#visit
    await this.#loans.decided()
    if (this.#gone()) return this.#leave()
    const answer = await this.#authorize(start)
    if (answer === undefined) return this.#leave()
    using _turn = await this.#visit.takeTurn()
    if (this.#gone()) return this.#leave()
    if ('denied' in answer) return this.#refuse(start, answer)
    this.#authorization = answer
    if (this.#gone()) return this.#leave()

    // Committed before anything happens on the target: invariant 3.
    const { session } = await deps.broker.startSession(this.#visit.connection, answer.id, {
      kind: start.kind,
      ...(start.command === undefined ? {} : { command: start.command }),
      clientIdent: this.#visit.clientIdent,
    })
    this.#session = session
    deps.metrics.sessions.inc({ kind: start.kind })
    const killed = this.#visit.killed(session)
    if (killed !== undefined) return this.end(new SessionKilled(killed), 'killed')
    const recording = await deps.recorder.start({
      tenant: answer.tenant,
      session,
      kind: this.#pty !== undefined ? 'terminal' : start.kind === 'sftp' ? 'sftp' : 'exec',
      cols: this.#pty?.cols ?? 80,
      rows: this.#pty?.rows ?? 24,
      ...(this.#pty === undefined ? {} : { term: this.#pty.term }),
      title: `${answer.user.name} on ${answer.target.name} as ${answer.login}`,
      ...(start.command === undefined ? {} : { command: start.command.toString('utf8') }),
      onFailure: (err) => {
        this.#visit.log.error({ err, session }, 'recording failed')
        this.end(new RecorderFailed(err), 'recorder-failed')
      },
    })
    // Ended while it was being opened: nobody else knows of it yet.
    if (this.#phase === 'over') return void (await recording.end())
    this.#recording = recording
    if (this.#clientGone) return this.#close('client-gone')

    const target = await this.#visit.openTarget(answer, session)
    this.#target = target
    if (this.#gone()) target.abort()
    if (this.#clientGone) return this.#close('client-gone')
    await this.#loans.lend(session, target, inTime)
    if (this.#gone()) return this.#close('client-gone')
    const { kind, command } = start
    const what = { kind, command, pty: this.#pty, environment: this.#environment }
    await startOnTarget(target, answer.target.name, what)
    if (this.#clientGone) return this.#close('client-gone')
    if (this.#gone()) return
    start.request.reply(true)
    this.#join(target)
  }

  /** Undefined when the person has left. */
  async #authorize(start: Start): Promise<Authorization | Denial | undefined> {
    const answer = await this.#visit.authorize(start.kind)
    const pty = this.#pty
    const mustChoose = 'denied' in answer && answer.denied === 'choose'
    if (!mustChoose || pty === undefined || start.kind !== 'shell') return answer
    const choices = await this.#visit.choices()
    if (this.#gone()) return undefined
    start.request.reply(true)
    const title = `VaultTerm ${this.#visit.tenant}`
    const choice = new TargetChoice(this.#channel, choices, { ...pty, title })
    this.#choice = choice
    for (const chunk of this.#early.splice(0)) {
      choice.input(chunk)
      this.#channel.consumed(chunk.length)
    }
    const chosen = await choice.chosen
    this.#choice = undefined
    if (this.#gone()) return undefined
    if (chosen === undefined) {
      void this.#channel.request('exit-status', Buffer.alloc(4), false)
      this.#channel.eof()
      this.#channel.close()
      return undefined
    }
    if (chosen.rest.length > 0) this.#typedAhead = chosen.rest
    return this.#visit.authorize(start.kind, chosen.target)
  }

  /** From here on the two channels talk. */
  #join(target: Channel): void {
    const recording = this.#recording
    if (recording === undefined) throw new Error('no relay without a recording')
    this.#phase = 'relaying'
    if (this.#kind === 'sftp') this.#files = this.#watchFiles()
    const relay = new Relay(
      this.#channel,
      target,
      recording,
      {
        clientRequest: (request) => this.#duringRelay(request),
        exit: (exit) => {
          this.#exit = exit
        },
        lost: () =>
          this.end(new TargetFailed('the target broke off the connection'), 'target-gone'),
        over: () => {
          const ended = this.#exit.status !== undefined || this.#exit.signal !== undefined
          void this.#close(ended || !this.#clientGone ? 'ended' : 'client-gone')
        },
      },
      this.#files,
    )
    this.#relay = relay
    target.handle(relay.target)
    this.#channel.widen(receiveWindowBytes - earlyWindowBytes)
    // Its credit was given back when it was typed into the menu.
    if (this.#typedAhead !== undefined) target.write(this.#typedAhead, () => {})
    for (const chunk of this.#early.splice(0)) relay.client.data(chunk)
    for (const request of this.#earlyRequests.splice(0)) this.#requested(request)
    if (this.#earlyEof) relay.client.eof()
  }

  #watchFiles(): FileWatch {
    const session = this.#session
    if (session === undefined) throw new Error('no watch without a session')
    const { deps, connection, log } = this.#visit
    return new FileWatch({
      record: (operations) => deps.broker.recordFiles(connection, session, operations),
      fail: (reason, outcome) => this.end(reason, outcome),
      log: log.child({ session }),
    })
  }

  /** The client left, or the session was ended, while something was awaited. */
  #gone(): boolean {
    return this.#clientGone || this.#phase === 'over'
  }

  #fail(start: Start, err: unknown): void {
    if (this.#phase === 'over') return
    const refusal = refusalOf(err)
    if (!(err instanceof CodedError)) this.#visit.log.error({ err }, 'session failed to start')
    if (this.#session === undefined) return this.#refuse(start, refusal)
    start.request.reply(true)
    this.#farewell(refusal)
    void this.#close(refusal.code)
  }

  /** There was no session: the person is told why, and so is the log where one is due. */
  #refuse(start: Start, refusal: Refusal): void {
    start.request.reply(true)
    this.#visit.deps.metrics.sessionsTotal.inc({ kind: start.kind, outcome: 'refused' })
    this.#farewell(refusal)
    this.#leave()
  }

  /** One line on stderr, exit status 255, and the end of the channel. */
  #farewell(refusal: Refusal): void {
    const request = this.#visit.requestId()
    this.#visit.log.info({ request, code: refusal.code, session: this.#session }, 'session refused')
    if (this.#clientGone) return
    const line = `${refusalLine(refusal, request)}${this.#pty === undefined ? '\n' : '\r\n'}`
    this.#channel.writeExtended(1, Buffer.from(line), () => {})
    void this.#channel.request('exit-status', Buffer.of(0, 0, 0, 255), false)
    this.#channel.eof()
    this.#channel.close()
    // A client that takes nothing, not even this line, is not waited for.
    setTimeout(() => this.#channel.abort(), farewellMs).unref()
  }

  /** Ends what there is, and puts the end on the log. */
  async #close(outcome: string): Promise<void> {
    if (this.#phase === 'over') return
    const relay = this.#relay
    this.#finish()
    const { deps, log } = this.#visit
    const session = this.#session
    if (session === undefined || this.#authorization === undefined) return this.#over()
    try {
      await this.#files?.end()
      const digest = await this.#endRecording()
      await deps.broker.endSession(this.#visit.connection, session, {
        ...(this.#exit.status === undefined ? {} : { exitStatus: this.#exit.status }),
        ...(this.#exit.signal === undefined ? {} : { exitSignal: this.#exit.signal }),
        bytes: (relay?.bytes.up ?? 0) + (relay?.bytes.down ?? 0),
        reason: outcome,
        ...(digest === undefined ? {} : { recording: digest }),
      })
    } catch (err) {
      // The row stays open and recovery ends it; what was recorded is on disk.
      log.error({ err, session }, 'session end could not be put on record')
    } finally {
      deps.metrics.sessions.dec({ kind: this.#kind })
      deps.metrics.sessionsTotal.inc({ kind: this.#kind, outcome: outcomeLabel(outcome) })
      deps.metrics.relayBytes.inc({ direction: 'up' }, relay?.bytes.up ?? 0)
      deps.metrics.relayBytes.inc({ direction: 'down' }, relay?.bytes.down ?? 0)
      this.#over()
    }
  }

  #finish(): void {
    if (this.#phase === 'over') return
    this.#phase = 'over'
    clearTimeout(this.#patience)
    // What it has not taken by now it will not get: nobody would see what comes of it.
    this.#target?.abort()
    if (this.#clientGone || this.#clientLeaves) this.#channel.close()
  }

  /** There is nothing to put on record. */
  #leave(): void {
    this.#finish()
    this.#over()
  }

  /** The digest of what is kept: an empty recording is not. */
  async #endRecording() {
    const recording = this.#recording
    if (recording === undefined) return undefined
    const { status, signal } = this.#exit
    if (status !== undefined || signal !== undefined) recording.exit(signal ?? String(status))
    const digest = await recording.end()
    return digest.empty ? undefined : digest
  }
}

function outcomeLabel(outcome: string): string {
  return outcome === 'ended' || outcome === 'client-gone' ? outcome : 'cut'
}

function readString(payload: Buffer): Buffer {
  const reader = new Reader(payload)
  const value = reader.string()
  reader.end()
  return value
}
