import type { SessionId } from '../../../recorder/index.ts'
import type { Channel } from '../../../ssh/index.ts'
import type { ForwardEnd, ForwardRequest, OpenedForward } from '../../wire/calls.ts'
import { ForwardEnded, Refused } from '../errors.ts'
import { pipe } from '../pipe.ts'
import type { RelayBytes } from '../relay.ts'
import { inTime } from '../session/target-start.ts'
import type { ForwardContext } from './forward-context.ts'

/** The two sides of a forward, and how each is opened. */
export interface ForwardEnds {
  /** The side that is asked: what it throws is for the one that asks. */
  far(opened: OpenedForward): Promise<Channel>
  /** The side that asks, once the other one is there. */
  near(): Channel
  /** Which of them is the client's. */
  readonly client: 'near' | 'far'
}

/** How long a side that was closed may take to say so too, until it does not count any more. */
const closesMs = 3000
/** How long a target may take to open its side: its own system gives up on a connect within this. */
const opensMs = 150_000

/** One channel beside those of a session: on record from before it is opened until it ends, once. */
export class ForwardChannel {
  readonly #context: ForwardContext
  readonly #session: SessionId
  readonly #over: (bytes: Readonly<RelayBytes>) => void
  /** What the main process calls it, once it is on record. */
  #id: string | undefined
  #ends: readonly Channel[] = []
  #bytes: Readonly<RelayBytes> = { up: 0, down: 0 }
  #isOver = false
  readonly #ended = Promise.withResolvers<never>()
  /** Calls closed, the first time. */
  #counted: () => void = () => {}

  /** over is called exactly once, when nothing goes through it any more. */
  constructor(
    context: ForwardContext,
    session: SessionId,
    over: (bytes: Readonly<RelayBytes>) => void,
  ) {
    this.#context = context
    this.#session = session
    this.#over = over
    // Unhandled it would end the process: most have nobody who waits for them.
    this.#ended.promise.catch(() => {})
  }

  /**
   * Has it decided and put on record, opens both sides and joins them; closed is called once, when both
   * have closed, or a while after its end where they do not. Throws Refused with what the person is told, and what opening a side throws.
   */
  async open(request: ForwardRequest, { far, near, client }: ForwardEnds, closed: () => void) {
    let opened: Channel | undefined
    try {
      const answer = await this.#ask(request)
      this.#requireOpen()
      opened = await this.#opened(far(answer))
      this.#requireOpen()
      const asked = near()
      const [up, down] = client === 'near' ? [asked, opened] : [opened, asked]
      this.#ends = [up, down]
      const check = () => this.#context.deps.lease.check()
      this.#bytes = pipe(up, down, check, () => {
        this.#counted()
        this.end()
      })
      this.#counted = () => {
        this.#counted = () => {}
        closed()
      }
    } catch (err) {
      opened?.abort()
      this.end('refused')
      throw err
    }
  }

  /** At once: what either side has yet to take is dropped, and neither is waited for. */
  end(how: 'ended' | 'refused' = 'ended'): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#ended.reject(new ForwardEnded())
    // A target that does not answer a close must not take a place for ever.
    setTimeout(() => this.#counted(), closesMs).unref()
    for (const channel of this.#ends) channel.abort()
    this.#over(this.#bytes)
    this.#recordEnd(how)
  }

  /** Not waited for when it has ended: what is opened all the same is closed at once. */
  #opened(opening: Promise<Channel>): Promise<Channel> {
    opening.then(
      (channel) => {
        if (this.#isOver) channel.abort()
      },
      () => {},
    )
    return Promise.race([this.#ended.promise, inTime(opening, opensMs)])
  }

  async #ask(request: ForwardRequest): Promise<OpenedForward> {
    const { deps, connection, channels } = this.#context
    const answer = await deps.broker.openForward(connection, this.#session, request)
    if ('denied' in answer) throw new Refused(answer)
    this.#id = answer.forward
    // Ended while it was asked for: nobody else would say so.
    if (this.#isOver) this.#recordEnd('refused')
    else {
      channels.set(answer.forward, this)
      if (this.#context.killed(answer.forward) !== undefined) this.end('refused')
    }
    return answer
  }

  #recordEnd(ended: ForwardEnd['ended']): void {
    const { deps, connection, channels, log } = this.#context
    const forward = this.#id
    if (forward === undefined) return
    channels.delete(forward)
    const outcome = { bytesIn: this.#bytes.up, bytesOut: this.#bytes.down, ended }
    deps.broker.closeForward(connection, forward, outcome).catch((err: unknown) => {
      log.error({ err, forward }, 'the end of a forward is not on record')
    })
  }

  #requireOpen(): void {
    if (this.#isOver) throw new ForwardEnded()
  }
}
