import type { Reader } from '../wire.ts'
import { ProtocolBroken } from './errors.ts'
import { encodeGlobalRequest, message, readRequest } from './messages.ts'

/** The other side asks something of the connection. Replies leave in the order of the requests. */
export interface GlobalRequest {
  readonly name: string
  readonly payload: Buffer
  readonly wantReply: boolean
  /** Does nothing when no reply is wanted, one was given, or the connection has gone. */
  reply(success: boolean, payload?: Buffer): void
}

const unansweredMax = 64

/** The requests of a connection, both ways: RFC 4254 section 4. */
export class GlobalRequests {
  readonly #send: (payload: Buffer) => void
  readonly #handler: (request: GlobalRequest) => void
  /** Theirs whose reply is still due, in order. */
  readonly #replies: { answer: Buffer | undefined }[] = []
  /** Ours that they have not answered, in order. */
  readonly #asked: ((answer: Buffer | false) => void)[] = []

  constructor(send: (payload: Buffer) => void, handler: (request: GlobalRequest) => void) {
    this.#send = send
    this.#handler = handler
  }

  /** The reply's payload, or false when refused. */
  ask(name: string, payload: Buffer, wantReply: boolean): Promise<Buffer | false> {
    const { promise, resolve } = Promise.withResolvers<Buffer | false>()
    if (wantReply) this.#asked.push(resolve)
    else resolve(Buffer.alloc(0))
    this.#send(encodeGlobalRequest(name, wantReply, payload))
    return promise
  }

  answered(answer: Buffer | false): void {
    this.#asked.shift()?.(answer)
  }

  received(reader: Reader): void {
    const { name, wantReply, payload } = readRequest(reader)
    if (this.#replies.length >= unansweredMax) {
      throw new ProtocolBroken('too many requests without a reply')
    }
    const slot: { answer: Buffer | undefined } = { answer: undefined }
    if (wantReply) this.#replies.push(slot)
    const reply = (success: boolean, answer: Buffer = Buffer.alloc(0)) => {
      if (!wantReply || slot.answer !== undefined) return
      slot.answer = success
        ? Buffer.concat([Buffer.of(message.requestSuccess), answer])
        : Buffer.of(message.requestFailure)
      this.#sendReplies()
    }
    // Any answer shows that we are alive, and this one is what OpenSSH gives.
    if (name === 'keepalive@openssh.com') return reply(false)
    this.#handler({ name, payload: Buffer.from(payload), wantReply, reply })
  }

  died(): void {
    for (const answer of this.#asked.splice(0)) answer(false)
  }

  #sendReplies(): void {
    for (;;) {
      const answer = this.#replies[0]?.answer
      if (answer === undefined) return
      this.#replies.shift()
      this.#send(answer)
    }
  }
}
