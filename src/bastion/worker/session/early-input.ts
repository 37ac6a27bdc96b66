import { Chunks } from '../../../chunks.ts'
import type { ChannelRequest } from '../../../ssh/index.ts'

/** How much a client may send before the target can take it. */
export const earlyWindowBytes = 64 * 1024
const requestsMax = 64
/** Requests while a session starts (a window size, a signal, a variable) are short. */
const requestBytesMax = 4096

/** The client's data while its target is being dialled: at most one window. */
export class EarlyInput {
  readonly #data = new Chunks()
  readonly #requests: ChannelRequest[] = []
  /** The client will send no further data. */
  isEnded = false

  data(chunk: Buffer): void {
    this.#data.add(chunk)
  }

  /** False: there are too many, or it is too long, and it is not kept. */
  request(request: ChannelRequest): boolean {
    const isLong = request.payload.length > requestBytesMax
    if (isLong || this.#requests.length >= requestsMax) return false
    this.#requests.push(request)
    return true
  }

  takeData(): readonly Buffer[] {
    return this.#data.drain()
  }

  takeRequests(): readonly ChannelRequest[] {
    return this.#requests.splice(0)
  }
}
