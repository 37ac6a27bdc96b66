import type { Broker } from './broker.ts'
import { CallRefused } from './errors.ts'
import { type Call, callShape, type FromWorker, RemoteError, type ToWorker } from './messages.ts'

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

  /** The main process, as the bastion asks it. It answers with what it says that it answers with. */
  readonly broker: Broker = {
    login: (...args) => this.#call({ method: 'login', args }),
    openJump: (...args) => this.#call({ method: 'openJump', args }),
    enterJump: (...args) => this.#call({ method: 'enterJump', args }),
    authorize: (connection, kind, target) =>
      this.#call({
        method: 'authorize',
        args: target === undefined ? [connection, kind] : [connection, kind, target],
      }),
    choices: (...args) => this.#call({ method: 'choices', args }),
    startSession: (...args) => this.#call({ method: 'startSession', args }),
    leaseKey: (...args) => this.#call({ method: 'leaseKey', args }),
    checkHostKey: (...args) => this.#call({ method: 'checkHostKey', args }),
    sign: (...args) => this.#call({ method: 'sign', args }),
    upstreamOpened: (...args) => this.#call({ method: 'upstreamOpened', args }),
    openForward: (...args) => this.#call({ method: 'openForward', args }),
    recordFiles: (...args) => this.#call({ method: 'recordFiles', args }),
    closeForward: (...args) => this.#call({ method: 'closeForward', args }),
    endSession: (...args) => this.#call({ method: 'endSession', args }),
  }

  #call<T>(call: Call): Promise<T> {
    // What strangers and targets send is in it: nobody is to end us by making us say what is too large.
    if (!callShape.safeParse(call).success) return Promise.reject(new CallRefused())
    const id = this.#calls++
    const waiting = Promise.withResolvers<unknown>()
    this.#waiting.set(id, waiting)
    this.#send({ type: 'call', id, call })
    // The main process is believed: it is the one that holds the secrets.
    return waiting.promise as Promise<T>
  }
}
