import type { ChannelRequest } from '../../../ssh/index.ts'

/** What a client may send before there is anything to send it to. */
export const earlyWindowBytes = 64 * 1024
const piecesMax = 256
const requestsMax = 64
/** A window size, a signal, a variable: what may come while a session starts is short. */
const requestBytesMax = 4096

/** What a client sends while its target is being dialled: no more than a window of data. */
export class EarlyInput {
  readonly #pieces: Buffer[] = []
  readonly #requests: ChannelRequest[] = []
  /** They will send no more. */
  isEnded = false

  /** Many small pieces are made few: each would cost more than what is in it. */
  data(chunk: Buffer): void {
    this.#pieces.push(chunk)
    if (this.#pieces.length > piecesMax)
      this.#pieces.splice(0, Infinity, Buffer.concat(this.#pieces))
  }

  /** False: there are too many, or it is too long, and it is not kept. */
  request(request: ChannelRequest): boolean {
    const isLong = request.payload.length > requestBytesMax
    if (isLong || this.#requests.length >= requestsMax) return false
    this.#requests.push(request)
    return true
  }

  takeData(): readonly Buffer[] {
    return this.#pieces.splice(0)
  }

  takeRequests(): readonly ChannelRequest[] {
    return this.#requests.splice(0)
  }
}
