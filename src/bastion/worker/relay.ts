import type { Recording } from '../../recorder/index.ts'
import {
  type Channel,
  type ChannelHandlers,
  type ChannelRequest,
  Reader,
  WireError,
} from '../../ssh/index.ts'

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
  /** The target's connection died before its program ended. */
  lost(): void
  /** Both channels are closed and no data will move. Called exactly once, with the side that closed first. */
  over(first: 'client' | 'target'): void
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
    let exited = false
    let first: 'client' | 'target' | undefined
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
      if (!this.#clientOpen && !this.#targetOpen) events.over(first ?? 'client')
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
      leaving: () => {
        first ??= 'client'
        target.close()
      },
      close: () => {
        first ??= 'client'
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
        // RFC 4254 section 5.2 defines no other kind, clients show none, and no recording may say that they do.
        if (kind !== stderrKind) return target.drop(chunk)
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
        // A target has no other requests on a session channel, and each of these only once. Others from a
        // hostile target are ignored: a client may end its whole connection on a malformed one.
        const told = readTold(request)
        if (told === undefined || carried.has(told.what)) return request.reply(false)
        carried.add(told.what)
        if (told.what === 'exit') {
          exited = true
          events.exit(told.exit)
        }
        down.after(() => {
          client.request(request.name, request.payload, request.wantReply).then(
            (success) => request.reply(success),
            () => request.reply(false),
          )
        })
      },
      eof: () => down.after(() => client.eof()),
      close: (lost) => {
        first ??= 'target'
        // The client gets the end after all data that is still on its way. The end is counted then,
        // because the recording is complete only then.
        if (watch !== undefined) down.went(watch.downEnd(toClient))
        down.after(() => {
          this.#targetOpen = false
          if (lost && !exited && this.#clientOpen) events.lost()
          else client.close()
          over()
        })
      },
    }
  }
}

/** RFC 4254 section 5.2: SSH_EXTENDED_DATA_STDERR. */
const stderrKind = 1
const requestBytesMax = 4096

/** A request of a target's on a session channel. Each comes once. */
type Told = { readonly what: 'exit'; readonly exit: Exit } | { readonly what: 'eow' | 'xon-xoff' }

/** Undefined for one that a target does not have, or that is not written as its specification says. */
function readTold({ name, payload }: ChannelRequest): Told | undefined {
  if (payload.length > requestBytesMax) return undefined
  switch (name) {
    case 'exit-status': {
      if (payload.length !== 4) return undefined
      return { what: 'exit', exit: { status: payload.readUInt32BE(0) } }
    }
    case 'exit-signal': {
      const signal = readSignal(payload)
      return signal === undefined ? undefined : { what: 'exit', exit: { signal } }
    }
    case 'eow@openssh.com':
      return payload.length === 0 ? { what: 'eow' } : undefined
    case 'xon-xoff':
      return payload.length === 1 ? { what: 'xon-xoff' } : undefined
    default:
      return undefined
  }
}

/** The signal's name in an exit-signal, RFC 4254 section 6.10: name, whether it dumped core, message, language. */
function readSignal(payload: Buffer): string | undefined {
  try {
    const reader = new Reader(payload)
    const signal = reader.string().toString('latin1')
    reader.boolean()
    reader.string()
    reader.string()
    reader.end()
    return /^[A-Z0-9]{1,16}(?:@[a-z.-]{1,32})?$/.test(signal) ? signal : undefined
  } catch (err) {
    if (err instanceof WireError) return undefined
    throw err
  }
}
