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
  /** Opens the far side of the forward; its error goes to the side that asked. */
  far(opened: OpenedForward): Promise<Channel>
  /** The side that asks, once the other one is there. */
  near(): Channel
  /** Which of them is the client's. */
  readonly client: 'near' | 'far'
}

/** How long a closed side may take to close too; after that it no longer counts. */
const closesMs = 3000
/** How long a target may take to open its side: its own system gives up on a connect within this. */
const opensMs = 150_000

/** One channel beside those of a session: on record from before it is opened until it ends, once. */
export class ForwardChannel {
  readonly #context: ForwardContext
  readonly #session: SessionId
  readonly #over: (bytes: Readonly<RelayBytes>) => void
  /** The main process's name for it, once it is on record. */
  #id: string | undefined
  #ends: readonly Channel[] = []
  #bytes: Readonly<RelayBytes> = { up: 0, down: 0 }
  #isOver = false
  readonly #ended = Promise.withResolvers<never>()
  /** Calls closed, the first time. */
  #counted: () => void = () => {}

  /** over is called exactly once, when no data goes through it any longer. */
  constructor(
    context: ForwardContext,
    session: SessionId,
    over: (bytes: Readonly<RelayBytes>) => void,
  ) {
    this.#context = context
    this.#session = session
    this.#over = over
    // Unhandled, the rejection would end the process: most forwards have no waiter.
    this.#ended.promise.catch(() => {})
  }

  /**
   * Has the forward authorized and put on record, opens both sides and joins them. closed is called
   * once: when both have closed, or a while after its end if they do not. Throws Refused with the
   * message to the user, and the errors of opening a side.
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

  /** At once: data that either side has not taken is dropped, and neither side is waited for. */
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

  /** Not awaited after its end: a channel that opens later is closed at once. */
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
    // Ended while it was being authorized: no other code would report its end.
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
