import type { Reader } from '../wire.ts'
import { ProtocolBroken } from './errors.ts'
import { encodeGlobalRequest, message, readRequest } from './messages.ts'

/** The other side asks something of the connection. Replies leave in the order of the requests. */
export interface GlobalRequest {
  readonly name: string
  readonly payload: Buffer
  readonly wantReply: boolean
  /** Does nothing when no reply is wanted, one was given, or the connection has ended. */
  reply(success: boolean, payload?: Buffer): void
}

/** Requests that wait for our replies. One more is refused by itself: OpenSSH has no limit here. */
const unansweredMax = 1024
/** An address, a path, or host keys: requests wait in order, and must not fill the memory. */
const payloadBytesMax = 65_536
/** A peer that asks for more than this without taking a reply is cut off. */
const unansweredBrokenMax = 16_384

interface Asked {
  /** Undefined where it could not be known when the request was sent. */
  readonly packetNumber: number | undefined
  readonly answered: (answer: Buffer | false) => void
}

/** The requests of a connection, both ways: RFC 4254 section 4. */
export class GlobalRequests {
  readonly #send: (payload: Buffer) => void
  readonly #nextPacketNumber: () => number | undefined
  readonly #handler: (request: GlobalRequest) => void
  /** The other side's requests whose reply is still due, in order. */
  readonly #replies: { answer: Buffer | undefined }[] = []
  /** Ours that they have not answered, in order. */
  readonly #asked: Asked[] = []

  constructor(options: {
    readonly send: (payload: Buffer) => void
    readonly nextPacketNumber: () => number | undefined
    readonly handler: (request: GlobalRequest) => void
  }) {
    this.#send = options.send
    this.#nextPacketNumber = options.nextPacketNumber
    this.#handler = options.handler
  }

  /** The reply's payload, or false when refused. */
  ask(name: string, payload: Buffer, wantReply: boolean): Promise<Buffer | false> {
    const { promise, resolve } = Promise.withResolvers<Buffer | false>()
    if (wantReply) {
      this.#asked.push({ packetNumber: this.#nextPacketNumber(), answered: resolve })
    }
    if (!wantReply) resolve(Buffer.alloc(0))
    this.#send(encodeGlobalRequest(name, wantReply, payload))
    return promise
  }

  answered(answer: Buffer | false): void {
    this.#asked.shift()?.answered(answer)
  }

  /**
   * Some devices do not know global requests at all, and say so in place of a reply: RFC 4253 section
   * 11.4. That is the answer, and no later reply may be taken for it.
   */
  unimplemented(packetNumber: number): void {
    const index = this.#asked.findIndex((one) => one.packetNumber === packetNumber)
    if (index >= 0) this.#asked.splice(index, 1)[0]?.answered(false)
  }

  received(reader: Reader): void {
    const { name, wantReply, payload } = readRequest(reader)
    if (this.#replies.length >= unansweredBrokenMax) {
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
    if (payload.length > payloadBytesMax || this.#replies.length > unansweredMax)
      return reply(false)
    // Any answer shows that we are alive; OpenSSH gives this one.
    if (name === 'keepalive@openssh.com') return reply(false)
    this.#handler({ name, payload: Buffer.from(payload), wantReply, reply })
  }

  died(): void {
    for (const { answered } of this.#asked.splice(0)) answered(false)
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
