import type { Recording } from '../../recorder/index.ts'
import type { Channel, ChannelHandlers, ChannelRequest } from '../../ssh/index.ts'

/** How many bytes of payload went each way; up is towards the target. */
export interface RelayBytes {
  up: number
  down: number
}

/** The end of the program on the target, as in RFC 4254 section 6.10. */
export interface Exit {
  readonly status?: number
  readonly signal?: string
}

/**
 * The target's output, in its order, never before it is on record.
 *
 * Output waits for the recorder; a request, EOF or CLOSE that came after that output must wait for
 * it too, or an exit status would overtake the last lines (and a CLOSE would swallow them).
 */
class Downstream {
  /** In bytes. */
  #come = 0
  #gone = 0
  readonly #waiting: { readonly come: number; readonly act: () => void }[] = []

  came(bytes: number): void {
    this.#come += bytes
  }

  /** They were written and passed on, or never will be. */
  went(bytes: number): void {
    this.#gone += bytes
    this.#settle()
  }

  /** Runs act once all output before it went. */
  after(act: () => void): void {
    if (this.#gone === this.#come) act()
    else this.#waiting.push({ come: this.#come, act })
  }

  #settle(): void {
    for (;;) {
      const next = this.#waiting[0]
      if (next === undefined || next.come > this.#gone) return
      this.#waiting.shift()
      next.act()
    }
  }
}

/**
 * Sees every byte before it goes on, and says when it does: in order, and never when it ends the
 * session.
 */
export interface Watch {
  /** Give one function for all data: chunks that wait may be joined. */
  up(chunk: Buffer, forward: (chunk: Buffer) => void): void
  /** No data of the client's comes after it. */
  upEnd(forward: () => void): void
  down(chunk: Buffer, forward: (chunk: Buffer) => void): void
  /**
   * The target sends no more: what has come whole goes on, and the rest never will. Gives how many
   * bytes that is.
   */
  downEnd(forward: (chunk: Buffer) => void): number
  /** The target's stderr. False: it does not go on, and the session is about to end. */
  aside(chunk: Buffer): boolean
}

/** The calls of the relay to its session. */
export interface RelayEvents {
  /** Bytes are about to be carried: it may end the process. */
  check(): void
  /** A request of the client's after the start; reply to it. */
  clientRequest(request: ChannelRequest): void
  exit(exit: Exit): void
  /** The target went without a word: no exit status, no end of its output. */
  lost(): void
  /** Both channels are closed and no data will move. Called exactly once. */
  over(): void
}

/**
 * Joins a user's channel to a target's: bytes both ways under the windows of both sides, and the
 * target's exit status, EOF and CLOSE in the order in which they came.
 *
 * Credit bounds the memory: bytes are acknowledged to their sender only after the other side's
 * transport has them, so at most one window of them is ever here.
 */
export class Relay {
  readonly bytes: RelayBytes = { up: 0, down: 0 }
  readonly client: ChannelHandlers
  readonly target: ChannelHandlers
  #clientOpen = true
  #targetOpen = true

  /** The watch sees the data before it goes on, and may end the session by an error. */
  constructor(
    client: Channel,
    target: Channel,
    recording: Recording,
    events: RelayEvents,
    watch?: Watch,
  ) {
    const down = new Downstream()
    const { bytes } = this
    let spoke = false
    const carried = new Set<string>()
    const sentUp = (count: number) => client.consumed(count)
    const sentDown = (count: number) => target.consumed(count)
    const toTarget = (chunk: Buffer) => target.write(chunk, sentUp)
    const toClient = (chunk: Buffer) =>
      recording.output(chunk, () => {
        client.write(chunk, sentDown)
        down.went(chunk.length)
      })
    const over = () => {
      if (!this.#clientOpen && !this.#targetOpen) events.over()
    }

    this.client = {
      data(chunk) {
        events.check()
        bytes.up += chunk.length
        if (watch === undefined) toTarget(chunk)
        else watch.up(chunk, toTarget)
      },
      // RFC 4254 defines none in this direction; accepting it keeps an unusual client's window
      // moving.
      extendedData: (_kind, chunk) => client.drop(chunk),
      request: (request) => events.clientRequest(request),
      eof() {
        if (watch === undefined) target.eof()
        else watch.upEnd(() => target.eof())
      },
      // The exit status is still to come, and the client waits for it.
      leaving: () => target.close(),
      close: () => {
        this.#clientOpen = false
        target.close()
        over()
      },
    }

    this.target = {
      data(chunk) {
        events.check()
        bytes.down += chunk.length
        down.came(chunk.length)
        if (watch === undefined) toClient(chunk)
        else watch.down(chunk, toClient)
      },
      extendedData(kind, chunk) {
        events.check()
        bytes.down += chunk.length
        if (watch !== undefined && !watch.aside(chunk)) return
        down.came(chunk.length)
        recording.errorOutput(chunk, () => {
          client.writeExtended(kind, chunk, sentDown)
          down.went(chunk.length)
        })
      },
      request(request) {
        // A target has no other requests on a session channel, and each of these only once. More or
        // longer ones from a hostile target are ignored.
        const isCarried = carriedDown.has(request.name) && !carried.has(request.name)
        if (!isCarried || request.payload.length > requestBytesMax) return request.reply(false)
        carried.add(request.name)
        const exit = readExit(request)
        if (exit !== undefined) {
          spoke = true
          events.exit(exit)
        }
        down.after(() => {
          client.request(request.name, request.payload, request.wantReply).then(
            (success) => request.reply(success),
            () => request.reply(false),
          )
        })
      },
      eof: () => {
        spoke = true
        down.after(() => client.eof())
      },
      close: () => {
        // The client gets the end after all data that is still on its way. The end is counted then,
        // because the recording is complete only then.
        if (watch !== undefined) down.went(watch.downEnd(toClient))
        down.after(() => {
          this.#targetOpen = false
          if (spoke || !this.#clientOpen) client.close()
          else events.lost()
          over()
        })
      },
    }
  }
}

const requestBytesMax = 4096
const carriedDown = new Set(['exit-status', 'exit-signal', 'eow@openssh.com', 'xon-xoff'])

/** The exit in a target's request; undefined for other or malformed requests. */
function readExit({ name, payload }: ChannelRequest): Exit | undefined {
  if (name === 'exit-status' && payload.length === 4) return { status: payload.readUInt32BE(0) }
  if (name !== 'exit-signal' || payload.length < 4) return undefined
  const length = payload.readUInt32BE(0)
  const signal = payload.subarray(4, 4 + length).toString('latin1')
  return /^[A-Z0-9]{1,16}(?:@[a-z.-]{1,32})?$/.test(signal) ? { signal } : undefined
}
