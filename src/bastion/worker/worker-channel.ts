import { type Broker, brokerOver, type Call, callShape } from '../wire/calls.ts'
import { CallRefused } from '../wire/errors.ts'
import { type FromWorker, RemoteError, type ToWorker } from '../wire/messages.ts'

/** A worker's end of the channel to the main process: its calls, and their answers. */
export class WorkerChannel {
  readonly #send: (message: FromWorker) => void
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>()
  #calls = 0

  constructor(send: (message: FromWorker) => void) {
    this.#send = send
  }

  /** True when it was for a call that waits here. */
  received(message: ToWorker): boolean {
    if (message.type !== 'answer' && message.type !== 'failure') return false
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    if (message.type === 'answer') waiting?.resolve(message.value)
    else {
      waiting?.reject(
        message.error === undefined
          ? new Error('the main process could not answer')
          : new RemoteError(message.error),
      )
    }
    return true
  }

  /** The main process, as the code that speaks SSH asks it. */
  readonly broker: Broker = brokerOver((call) => this.#call(call))

  #call(call: Call): Promise<unknown> {
    // Strangers' bytes are in the arguments: none of them may end this worker by a call that the main
    // process would not understand.
    if (!callShape.safeParse(call).success) return Promise.reject(new CallRefused())
    const id = this.#calls++
    const waiting = Promise.withResolvers<unknown>()
    this.#waiting.set(id, waiting)
    this.#send({ type: 'call', id, call })
    // The answer is not parsed: the main process holds the secrets, and is trusted.
    return waiting.promise
  }
}
