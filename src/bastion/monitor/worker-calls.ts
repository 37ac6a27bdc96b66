import type { LogPace } from '../../audit/index.ts'
import type { Log } from '../../log.ts'
import type { Turns } from '../../turns.ts'
import { callLimits } from '../wire/call-limits.ts'
import { answerCall, type Call } from '../wire/calls.ts'
import { entriesOf } from '../wire/log-entries.ts'
import { encodeFrame, type MessagePipe, mainFrameBytesMax } from '../wire/message-pipe.ts'
import { errorMessage, type ToWorker } from '../wire/messages.ts'
import { AnswerTooLarge, RequestCrossed, RequestForged } from './errors.ts'
import type { BastionMetrics } from './metrics.ts'
import type { Monitor } from './monitor.ts'

/** An answer waits while the worker has left more than this unread. */
export const unreadHoldsAnswers = 8 * 1_048_576
/** An honest worker holds its calls back at a quarter of these: see callLimits. */
const callsMax = 4 * callLimits.atOnce
const callBytesMax =
  4 * (callLimits.largeAtOnce * 2_097_152 + callLimits.atOnce * callLimits.largeBytes)
/** Requests that no honest worker makes. */
const forgedMax = 20

export interface WorkerCallsDeps {
  readonly monitor: Monitor
  readonly turns: Turns
  readonly logPace: LogPace
  readonly forgedRequests: BastionMetrics['forgedRequests']
  /** Undefined for a worker that could not be started. */
  readonly pipe: () => MessagePipe | undefined
  readonly kill: (why: string) => void
  readonly isGone: () => boolean
  readonly log: Log
}

/** The calls of one worker: their turns, their answers, and the limits beyond which it is killed. */
export class WorkerCalls {
  readonly #deps: WorkerCallsDeps
  #open = 0
  #openBytes = 0
  #forged = 0

  constructor(deps: WorkerCallsDeps) {
    this.#deps = deps
  }

  /** Sends the answer when it is there. Never rejects. */
  async answer(id: number, call: Call, bytes: number): Promise<void> {
    const { pipe, kill } = this.#deps
    this.#open++
    this.#openBytes += bytes
    if (this.#open > callsMax || this.#openBytes > callBytesMax) {
      return kill('it asks for too much at a time')
    }
    try {
      const value = await this.#answerInTurn(call)
      const frame = encodeFrame({ type: 'answer', id, value } satisfies ToWorker)
      // A message that the worker does not take would end it.
      if (frame.length > mainFrameBytesMax) throw new AnswerTooLarge()
      await pipe()?.drained(unreadHoldsAnswers)
      pipe()?.sendFrame(frame)
    } catch (err) {
      this.failed(call.method, err)
      pipe()?.send({ type: 'failure', id, error: errorMessage(err) } satisfies ToWorker)
    } finally {
      this.#open--
      this.#openBytes -= bytes
    }
  }

  /** A request of the worker failed. Too many that no honest worker makes end it. */
  failed(method: string, err: unknown): void {
    const { log, forgedRequests, kill } = this.#deps
    if (err instanceof RequestCrossed) {
      log.debug({ method }, 'a worker asked about something that has ended')
    } else if (err instanceof RequestForged) {
      forgedRequests.inc()
      log.error({ method, err }, 'a worker asked for something that is not its own')
      if (++this.#forged > forgedMax) kill('it repeatedly asks for things that are not its own')
    } else if (errorMessage(err) === undefined) {
      log.error({ method, err }, 'a call of a worker failed')
    }
  }

  async #answerInTurn(call: Call): Promise<unknown> {
    const { monitor, turns, logPace, isGone } = this.#deps
    // A login has turns of its own.
    if (call.method === 'login') return answerCall(monitor, call)
    const owner = monitor.ownerOf(call.args[0])
    // Before the turn: a user who is delayed must not hold a turn.
    await logPace.take(owner.user, entriesOf(call), () => !isGone())
    using _turn = await turns.take(owner)
    return await answerCall(monitor, call)
  }
}
