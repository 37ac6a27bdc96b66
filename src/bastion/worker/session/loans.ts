import { CodedError } from '../../../errors.ts'
import type { Log } from '../../../log.ts'
import type { SessionId } from '../../../recorder/index.ts'
import type { Channel, ChannelRequest } from '../../../ssh/index.ts'
import type { Denial } from '../../wire/calls.ts'
import type { Loan } from '../forward/lendings.ts'

export interface LoansOptions {
  /** Decides whether the client may lend it. Undefined: yes. */
  permit(kind: Loan['kind']): Promise<Denial | undefined>
  /** Lets a session's target open channels to the client until the returned function is called. */
  lend(loan: Loan, isTaken: boolean): () => void
  readonly log: Log
}

/** A display's cookie is a few dozen bytes. */
const payloadBytesMax = 4096

/** The loans of a client to the target of one session: its agent, its display. */
export class Loans {
  readonly #options: LoansOptions
  readonly #asked = new Map<Loan['kind'], { request: ChannelRequest; decided: Promise<void> }>()
  readonly #callOff: (() => void)[] = []
  #isOver = false

  constructor(options: LoansOptions) {
    this.#options = options
  }

  /** Answered once it is decided: clients wait for that before they go on. */
  ask(kind: Loan['kind'], request: ChannelRequest): void {
    if (this.#asked.has(kind) || request.payload.length > payloadBytesMax) {
      return request.reply(false)
    }
    const decided = this.#options.permit(kind).then(
      (denial) => this.#answer(kind, request, denial === undefined),
      (err: unknown) => {
        if (!(err instanceof CodedError)) {
          this.#options.log.error({ err, kind }, 'a loan could not be decided')
        }
        this.#answer(kind, request, false)
      },
    )
    this.#asked.set(kind, { request, decided })
  }

  /** Resolves when all that was asked is decided. */
  async decided(): Promise<void> {
    await Promise.all([...this.#asked.values()].map(({ decided }) => decided))
  }

  /** Asks the target to use the granted loan. */
  async lend(
    session: SessionId,
    target: Channel,
    inTime: <T>(answer: Promise<T>) => Promise<T>,
  ): Promise<void> {
    for (const [kind, { request }] of this.#asked) {
      const isTaken = await inTime(target.request(request.name, request.payload, true))
      if (this.#isOver) return
      this.#callOff.push(this.#options.lend({ kind, session }, isTaken))
    }
  }

  /** Ends all loans, and allows no new ones. */
  end(): void {
    this.#isOver = true
    for (const callOff of this.#callOff.splice(0)) callOff()
  }

  #answer(kind: Loan['kind'], request: ChannelRequest, isGranted: boolean): void {
    if (!isGranted) this.#asked.delete(kind)
    request.reply(isGranted)
  }
}
