import type { SessionId } from '../../recorder/index.ts'
import { type TurnOwner, Turns } from '../../turns.ts'
import { callLimits } from '../wire/call-limits.ts'
import {
  type Broker,
  brokerOver,
  type Call,
  type Client,
  type ConnectionId,
  callShape,
  type Denial,
  type FileNotes,
  fileNotes,
} from '../wire/calls.ts'
import { CallRefused } from '../wire/errors.ts'
import { entriesOf } from '../wire/log-entries.ts'
import { encodeFrame, workerFrameBytesMax } from '../wire/message-pipe.ts'
import { type FromWorker, RemoteError, type ToWorker } from '../wire/messages.ts'
import { UserTurns } from './user-turns.ts'

/** A connection that makes calls. */
interface Caller {
  owner: TurnOwner
  /** Calls without an answer, and calls that are held back. */
  calls: number
  /** Its user has logged in, and it has not closed: its owner is kept between two calls. */
  isKept: boolean
}

/** Messages about files that the system has not taken. The main process reads them no faster than it can. */
const notesAtOnce = 8

/** Connections without a login count as one tenant, and each as a user of it. */
const strangers = 'strangers'

/**
 * A worker's end of the channel to the main process: its calls, and their answers.
 *
 * A worker that sends too much is killed. So calls beyond callLimits wait here for their turn, tenant by
 * tenant and user by user. So do notes about files, which have no answers.
 */
export class WorkerChannel {
  /** The main process, as the code that speaks SSH asks it. */
  readonly broker: Broker = brokerOver((call) => this.#call(call))
  readonly #send: (frame: Buffer, sent?: () => void) => void
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>()
  readonly #callers = new Map<ConnectionId, Caller>()
  readonly #turns = new Turns(callLimits.atOnce)
  readonly #largeTurns = new Turns(callLimits.largeAtOnce)
  readonly #largeOfUser = new UserTurns(callLimits.largeOfUser)
  readonly #noteTurns = new Turns(notesAtOnce)
  readonly #pacedTurns = new UserTurns(callLimits.pacedAtOnce)
  #ids = 0
  /** Since the last ping. */
  #sent = 0
  #sentBytes = 0
  #pinged = Promise.withResolvers<void>()

  /** send calls back when the system has the frame. */
  constructor(send: (frame: Buffer, sent?: () => void) => void) {
    this.#send = send
  }

  /** True when the message was for a call that waits here. */
  received(message: ToWorker): boolean {
    if (message.type === 'ping') this.#resume()
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

  /**
   * Resolves when the main process gets the notes even if this process ends at once. Rejects with
   * CallRefused where it would not understand them.
   */
  async noteFiles(connection: ConnectionId, session: SessionId, notes: FileNotes): Promise<void> {
    if (!fileNotes.safeParse(notes).success) throw new CallRefused()
    using _turn = await this.#noteTurns.take(this.#ownerOf(connection))
    const message: FromWorker = { type: 'files', connection, session, notes }
    await new Promise<void>((sent) => this.#send(encodeFrame(message), sent))
  }

  /** The connection has closed. Its running calls are still answered. */
  forget(connection: ConnectionId): void {
    const caller = this.#callers.get(connection)
    if (caller === undefined) return
    caller.isKept = false
    this.#settle(connection, caller)
  }

  /** Rejects with CallRefused where the main process would not understand the call. */
  async #call(call: Call): Promise<unknown> {
    // The arguments hold strangers' bytes. A call that does not fit would end this worker: it is not made.
    if (!callShape.safeParse(call).success) throw new CallRefused()
    const id = this.#ids++
    const frame = encodeFrame({ type: 'call', id, call } satisfies FromWorker)
    if (frame.length > workerFrameBytesMax) throw new CallRefused()
    const [connection] = call.args
    const caller = this.#callerOf(connection)
    caller.calls++
    try {
      const answer = await this.#askInTurn(id, call, frame, caller.owner)
      if (call.method === 'login' || call.method === 'enterJump') learn(caller, answer)
      return answer
    } finally {
      caller.calls--
      this.#settle(connection, caller)
    }
  }

  #callerOf(connection: ConnectionId): Caller {
    const known = this.#callers.get(connection)
    if (known !== undefined) return known
    const caller: Caller = { owner: this.#ownerOf(connection), calls: 0, isKept: false }
    this.#callers.set(connection, caller)
    return caller
  }

  #ownerOf(connection: ConnectionId): TurnOwner {
    return this.#callers.get(connection)?.owner ?? { tenant: strangers, user: connection }
  }

  #settle(connection: ConnectionId, { calls, isKept }: Caller): void {
    if (calls === 0 && !isKept) this.#callers.delete(connection)
  }

  async #askInTurn(id: number, call: Call, frame: Buffer, owner: TurnOwner): Promise<unknown> {
    // Taken first: calls that the main process holds back must leave turns for the user's colleagues.
    using _paced = entriesOf(call) > 0 ? await this.#pacedTurns.take(owner) : undefined
    return await this.#ask(id, frame, owner)
  }

  async #ask(id: number, frame: Buffer, owner: TurnOwner): Promise<unknown> {
    const isLarge = frame.length > callLimits.largeBytes
    using _own = isLarge ? await this.#largeOfUser.take(owner) : undefined
    using _large = isLarge ? await this.#largeTurns.take(owner) : undefined
    using _turn = await this.#turns.take(owner)
    while (this.#sent >= callLimits.perPing || this.#sentBytes >= callLimits.bytesPerPing) {
      await this.#pinged.promise
    }
    this.#sent++
    this.#sentBytes += frame.length
    const waiting = Promise.withResolvers<unknown>()
    this.#waiting.set(id, waiting)
    this.#send(frame)
    // The answer is not parsed: the main process holds the secrets, and is trusted.
    return await waiting.promise
  }

  /** The main process has restarted its count. */
  #resume(): void {
    this.#sent = 0
    this.#sentBytes = 0
    this.#pinged.resolve()
    this.#pinged = Promise.withResolvers<void>()
  }
}

/** Calls of a connection are in one line, in order: only a caller without other calls changes the line. */
function learn(caller: Caller, answer: unknown): void {
  const client = answer as Client | Denial | undefined
  if (client === undefined || 'denied' in client || caller.calls > 1) return
  caller.owner = { tenant: client.tenant, user: client.user }
  caller.isKept = true
}
