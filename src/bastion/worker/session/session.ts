import { CodedError } from '../../../errors.ts'
import { background } from '../../../log.ts'
import type { Recording, SessionId } from '../../../recorder/index.ts'
import {
  type Channel,
  type ChannelRequest,
  type Connection,
  receiveWindowBytes,
  WireError,
} from '../../../ssh/index.ts'
import type { Authorization, ChoiceQuery, Denial } from '../../wire/calls.ts'
import { SessionKilled } from '../../wire/errors.ts'
import { CommandTooLong, RecorderFailed, TargetFailed } from '../errors.ts'
import { type Refusal, refusalLine, refusalOf } from '../refusal.ts'
import { Relay } from '../relay.ts'
import type { UpstreamNeed } from '../upstream.ts'
import { EarlyInput, earlyWindowBytes } from './early-input.ts'
import { bidFarewell } from './farewell.ts'
import { Loans } from './loans.ts'
import type { Pty } from './pty.ts'
import type { SessionContext } from './session-context.ts'
import { SessionRecord } from './session-record.ts'
import { SessionSetup, type Start } from './session-setup.ts'
import { TargetChoice } from './target-choice.ts'
import { carryRequest } from './target-request.ts'
import { inTime, startOnTarget } from './target-start.ts'

/** How long a channel may be open without a start request. */
const askMs = 120_000
/** OpenSSH's sshd takes packets of 256 KiB: this leaves room for the fields around a command. */
const commandBytesMax = 256 * 1024 - 1024
/** How long a client may take to do something else once a subsystem was refused. */
const afterRefusalMs = 3000
/** How long a target may take to end its program after the client has left. */
const lingerMs = 5000

/**
 * One session channel of a client, from its opening to its end. In every case the client gets one
 * clear line or an exit status, and the log gets an end.
 */
export class SessionChannel {
  readonly #channel: Channel
  readonly #context: SessionContext
  readonly #over: () => void
  readonly #patience: NodeJS.Timeout
  readonly #loans: Loans
  readonly #setup: SessionSetup
  readonly #early = new EarlyInput()
  /** While a target is chosen. */
  #choice: TargetChoice | undefined
  #typedAhead: Buffer | undefined
  #phase: 'asking' | 'starting' | 'relaying' | 'over' = 'asking'
  #clientGone = false
  /** They have closed, and wait for how it ended. */
  #clientLeaves = false
  /** Set once there is a session. */
  #record: SessionRecord | undefined
  #target: Channel | undefined
  #upstream: Connection | undefined
  /** Releases the target's channel. */
  #release = () => {}
  #relay: Relay | undefined
  /** A target that is dialled by then, or does not answer, is not waited for. */
  readonly #ended = new AbortController()

  /** over is called exactly once, when the session has ended completely. */
  constructor(channel: Channel, context: SessionContext, over: () => void) {
    this.#channel = channel
    this.#context = context
    this.#over = over
    this.#loans = new Loans({
      permit: (kind) => context.permitLoan(kind),
      lend: (loan, isTaken) => {
        if (this.#upstream === undefined) throw new Error('a loan needs a session')
        return context.lend(this.#upstream, loan, isTaken)
      },
      log: context.log,
    })
    this.#setup = new SessionSetup(context, this.#loans)
    this.#patience = setTimeout(() => {
      channel.close()
      this.#leave()
    }, askMs).unref()
    channel.handle({
      data: (chunk) => {
        if (this.#relay !== undefined) this.#relay.client.data(chunk)
        else if (this.#choice !== undefined) {
          this.#choice.input(chunk)
        }
        // No credit is given: the client can send at most one window until the start.
        else if (this.#phase !== 'over') this.#early.data(chunk)
      },
      extendedData: (_kind, chunk) => channel.drop(chunk),
      request: (request) => this.#requested(request),
      eof: () => {
        if (this.#relay !== undefined) this.#relay.client.eof()
        else this.#early.isEnded = true
      },
      leaving: () => {
        this.#clientLeaves = true
        if (this.#relay === undefined) return channel.close()
        this.#relay.client.leaving?.()
        setTimeout(() => this.#endOnRecord('client-gone'), lingerMs).unref()
      },
      close: () => {
        this.#clientGone = true
        this.#choice?.end()
        if (this.#relay !== undefined) {
          this.#relay.client.close()
          // A target that does not answer must not keep the session of a client that has left.
          setTimeout(() => this.#endOnRecord('client-gone'), lingerMs).unref()
        } else if (this.#phase === 'asking') this.#leave()
      },
    })
  }

  get session(): SessionId | undefined {
    return this.#record?.session
  }

  get live(): boolean {
    return this.#phase === 'starting' || this.#phase === 'relaying'
  }

  /** Ends a live session with a line for its user. */
  end(reason: CodedError, outcome: string): void {
    if (this.#phase === 'over') return
    this.#farewell(refusalOf(reason))
    this.#endOnRecord(outcome)
    this.#ended.abort(reason)
  }

  #need({ authorization, session }: SessionRecord): UpstreamNeed {
    return { authorization, session, ended: this.#ended.signal }
  }

  #requested(request: ChannelRequest): void {
    try {
      if (this.#phase === 'asking') this.#ask(request)
      else if (this.#phase === 'relaying') this.#duringRelay(request)
      else if (this.#choice !== undefined && request.name === 'window-change') {
        this.#resizeChoice(request)
      } else if (this.#phase !== 'starting' || !this.#early.request(request)) request.reply(false)
    } catch (err) {
      // A payload that its own RFC does not allow: the request fails, the session goes on.
      if (!(err instanceof WireError)) this.#context.log.error({ err }, 'channel request failed')
      request.reply(false)
    }
  }

  #ask(request: ChannelRequest): void {
    const start = this.#setup.ask(request)
    if (start === undefined) {
      if (request.name === 'subsystem') this.#subsystemRefused()
      return
    }
    this.#phase = 'starting'
    clearTimeout(this.#patience)
    this.#start(start).catch((err: unknown) => this.#fail(start, err))
  }

  /**
   * libssh2 waits for ever after a refused subsystem, unless its connection ends. Other clients ask for
   * something else within moments, on this channel or on another one.
   */
  #subsystemRefused(): void {
    setTimeout(() => {
      if (this.#phase === 'asking') {
        this.#context.endIfAlone(1)
        this.#channel.close()
        this.#leave()
      } else if (this.#phase === 'over') this.#context.endIfAlone(0)
    }, afterRefusalMs).unref()
  }

  #resizeChoice(request: ChannelRequest): void {
    this.#setup.resize(request.payload)
    if (this.#setup.pty !== undefined) this.#choice?.resize(this.#setup.pty)
    request.reply(true)
  }

  #duringRelay(request: ChannelRequest): void {
    if (this.#target === undefined) return request.reply(false)
    carryRequest(request, this.#target, (size) => this.#record?.resize(size))
  }

  async #start(start: Start): Promise<void> {
    const commandBytes = start.command?.length ?? 0
    if (commandBytes > commandBytesMax) throw new CommandTooLong(commandBytes, commandBytesMax)
    await this.#context.forwardsRequested()
    await this.#loans.decided()
    const [turn, answer] = await this.#authorize(start)
    using _turn = turn
    if (this.#gone() || answer === undefined) return this.#leave()
    if ('denied' in answer) return this.#refuse(start, answer)

    const record = await SessionRecord.begin(this.#context, answer, start)
    const { session } = record
    this.#record = record
    const killed = this.#context.killed(session)
    if (killed !== undefined) return this.end(new SessionKilled(killed), 'killed')
    const { environment } = this.#setup
    // SFTP gets no terminal: the client chooses how a terminal changes bytes, and it would do so after they
    // were inspected.
    const pty = start.kind === 'sftp' ? undefined : this.#setup.pty
    const recording = await record.openRecording(pty, (err) =>
      this.end(new RecorderFailed(err), 'recorder-failed'),
    )
    if (recording === undefined) return
    if (this.#clientGone) return this.#close('client-gone')

    const {
      channel: target,
      upstream,
      release,
    } = await this.#context.openTarget(this.#need(record))
    this.#target = target
    this.#upstream = upstream
    this.#release = release
    if (this.#gone()) this.#abandonTarget()
    if (this.#clientGone) return this.#close('client-gone')
    await this.#loans.lend(session, target, inTime)
    if (this.#gone()) return this.#close('client-gone')
    const { kind, command } = start
    await startOnTarget(target, answer.target.name, { kind, command, pty, environment })
    if (this.#clientGone) return this.#close('client-gone')
    if (this.#gone()) return
    start.request.reply(true)
    this.#join(target, record, recording)
  }

  /**
   * Takes a turn to start a session, and then asks for an authorization: an earlier one would be
   * too old after the wait. Undefined when the user has left. The caller ends the turn.
   */
  async #authorize(start: Start): Promise<[turn: Disposable, Authorization | Denial | undefined]> {
    const first = await this.#authorizeInTurn(start)
    const [turn, answer] = first
    const { pty } = this.#setup
    const mustChoose = answer !== undefined && 'denied' in answer && answer.denied === 'choose'
    if (!mustChoose || pty === undefined || start.kind !== 'shell') return first
    // A person takes long to choose: the others go on meanwhile.
    turn[Symbol.dispose]()
    const target = await this.#choose(start, pty)
    return target === undefined ? [turn, undefined] : this.#authorizeInTurn(start, target)
  }

  async #authorizeInTurn(
    { kind }: Start,
    target?: string,
  ): Promise<[turn: Disposable, Authorization | Denial | undefined]> {
    const turn = await this.#context.takeTurn()
    try {
      return [turn, this.#gone() ? undefined : await this.#context.authorize(kind, target)]
    } catch (err) {
      turn[Symbol.dispose]()
      throw err
    }
  }

  /** Lets the user choose a target. Undefined when they have left. */
  async #choose(start: Start, pty: Pty): Promise<string | undefined> {
    const load = (query: ChoiceQuery) => this.#context.choices(query)
    const first = await load({ search: '', after: '' })
    if (this.#gone()) return undefined
    start.request.reply(true)
    const title = `VaultTerm ${this.#context.tenant}`
    const choice = new TargetChoice(this.#channel, first, load, { ...pty, title })
    this.#choice = choice
    for (const chunk of this.#early.takeData()) {
      choice.input(chunk)
    }
    const chosen = await choice.chosen
    this.#choice = undefined
    if (this.#gone()) return undefined
    if (chosen === undefined) {
      const told = this.#channel.request('exit-status', Buffer.alloc(4), false)
      background(told, this.#context.log, 'an exit status')
      this.#channel.eof()
      this.#channel.close()
      return undefined
    }
    if (chosen.rest.length > 0) this.#typedAhead = chosen.rest
    return chosen.target
  }

  /** From here on the two channels talk. */
  #join(target: Channel, record: SessionRecord, recording: Recording): void {
    this.#phase = 'relaying'
    const relay = new Relay(
      this.#channel,
      target,
      recording,
      {
        check: () => this.#context.deps.lease.check(),
        clientRequest: (request) => this.#duringRelay(request),
        exit: (exit) => {
          record.exit = exit
        },
        lost: () =>
          this.end(new TargetFailed('the target broke off the connection'), 'target-gone'),
        over: (first) => {
          const { status, signal } = record.exit
          const ended = first === 'target' || status !== undefined || signal !== undefined
          this.#endOnRecord(ended ? 'ended' : 'client-gone')
        },
      },
      record.watchFiles((reason, outcome) => this.end(reason, outcome)),
    )
    this.#relay = relay
    target.handle(relay.target)
    this.#channel.widen(receiveWindowBytes - earlyWindowBytes)
    // Its credit was given back when it was typed into the menu.
    if (this.#typedAhead !== undefined) target.write(this.#typedAhead, () => {})
    for (const chunk of this.#early.takeData()) relay.client.data(chunk)
    for (const request of this.#early.takeRequests()) this.#requested(request)
    if (this.#early.isEnded) relay.client.eof()
  }

  /** The client left, or the session was ended, while something was awaited. */
  #gone(): boolean {
    return this.#clientGone || this.#phase === 'over'
  }

  #fail(start: Start, err: unknown): void {
    if (this.#phase === 'over') return
    const refusal = refusalOf(err)
    if (!(err instanceof CodedError)) this.#context.log.error({ err }, 'session failed to start')
    if (this.#record === undefined) return this.#refuse(start, refusal)
    start.request.reply(true)
    this.#farewell(refusal)
    this.#endOnRecord(refusal.code)
  }

  /** There was no session: the user gets the reason, and so does the log where one is due. */
  #refuse(start: Start, refusal: Refusal): void {
    start.request.reply(true)
    this.#context.deps.metrics.sessionsTotal.inc({ kind: start.kind, outcome: 'refused' })
    this.#farewell(refusal)
    this.#leave()
  }

  #farewell(refusal: Refusal): void {
    const request = this.#context.requestId()
    const { session } = this
    this.#context.log.info({ request, code: refusal.code, session }, 'session refused')
    if (this.#clientGone) return
    const end = this.#setup.pty === undefined ? '\n' : '\r\n'
    bidFarewell(this.#channel, `${refusalLine(refusal, request)}${end}`)
  }

  /** The same without a waiter. */
  #endOnRecord(outcome: string): void {
    background(this.#close(outcome), this.#context.log, 'the end of a session')
  }

  /** Ends all parts of the session, and puts the end on the log. */
  async #close(outcome: string): Promise<void> {
    if (this.#phase === 'over') return
    this.#finish()
    await this.#record?.end(outcome, this.#relay?.bytes ?? { up: 0, down: 0 })
    this.#over()
  }

  #finish(): void {
    if (this.#phase === 'over') return
    this.#phase = 'over'
    clearTimeout(this.#patience)
    this.#loans.end()
    // Data that it has not taken by now is dropped: its result would not be seen.
    this.#abandonTarget()
    if (this.#clientGone || this.#clientLeaves) this.#channel.close()
  }

  #abandonTarget(): void {
    this.#target?.abort()
    this.#release()
  }

  /** There is no session to put on record. Does nothing after the end: a connection may end in between. */
  #leave(): void {
    if (this.#phase === 'over') return
    this.#finish()
    this.#over()
  }
}
