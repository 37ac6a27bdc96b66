import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { ForwardRequest } from '../../../../src/bastion/wire/calls.ts'
import { SessionKilled } from '../../../../src/bastion/wire/errors.ts'
import { Forwards } from '../../../../src/bastion/worker/forward/forwards.ts'
import type { SessionId } from '../../../../src/recorder/index.ts'
import type { Channel, ChannelOpen, Connection, GlobalRequest } from '../../../../src/ssh/index.ts'
import { Writer } from '../../../../src/ssh/index.ts'

const forwardsMax = 50

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** All that is asked on a connection, with a target that answers as it is told to. */
class Lab {
  readonly ended: { session: string; reason: string }[] = []
  readonly asked: { name: string; wantReply: boolean }[] = []
  readonly replies: boolean[] = []
  readonly refusals: string[] = []
  /** The payloads of opens at the client. */
  readonly shownToClient: Buffer[] = []
  /** Of the channels at the target's side: what tells them that they are closed. */
  readonly closed: (() => void)[] = []
  readonly died = Promise.withResolvers<void>()
  dial: Promise<Connection>
  answer: Promise<Buffer | false> = Promise.resolve(Buffer.alloc(0))
  answersClose = true
  readonly forwards: Forwards
  #sessions = 0

  constructor() {
    this.dial = this.#target(this.died.promise)
    const nothing = () => {}
    const broker = {
      authorize: async () => ({ id: 'a', target: { name: 'real' } }),
      startSession: async () => ({ session: `s${++this.#sessions}` }),
      endSession: async (_id: unknown, session: string, { reason }: { reason: string }) =>
        void this.ended.push({ session, reason }),
      upstreamOpened: async () => {},
      openForward: async (_id: unknown, _session: unknown, { host, port }: ForwardRequest) => ({
        forward: `${Math.random()}`,
        ...(host !== undefined && { host }),
        ...(port !== undefined && { port }),
      }),
      closeForward: async () => {},
    }
    this.forwards = new Forwards({
      deps: {
        broker,
        limits: { forwardsPerConnectionMax: forwardsMax, listenersPerConnectionMax: 10 },
        metrics: new Proxy({}, { get: () => ({ inc: nothing, dec: nothing }) }),
      },
      connection: 'c',
      clientIdent: 'test',
      client: {
        openChannel: async (_type: string, payload: Buffer) => {
          this.shownToClient.push(payload)
          return this.#channel()
        },
      },
      log: { info: nothing, warn: nothing, error: nothing },
      requestId: () => 'r',
      upstream: async ({ ended }: { ended: AbortSignal }) => {
        const over = new Promise<never>((_, reject) => {
          ended.addEventListener('abort', () => reject(ended.reason))
        })
        return Promise.race([over, this.dial])
      },
      killed: () => undefined,
    } as never)
  }

  /** Another connection to the target, which goes on. */
  redial(): void {
    this.dial = this.#target(new Promise(() => {}))
  }

  async open(): Promise<void> {
    const payload = new Writer().text('h').u32(80).text('o').u32(1).build()
    await this.forwards.openDirect({
      type: 'direct-tcpip',
      payload,
      accept: () => this.#channel(),
      reject: (_reason: number, text: string) => void this.refusals.push(text),
    } as unknown as ChannelOpen)
  }

  async listen(port: number, name = 'tcpip-forward'): Promise<void> {
    const payload = new Writer().text('localhost').u32(port).build()
    const reply = (success: boolean) => void this.replies.push(success)
    this.forwards.request({ name, payload, wantReply: true, reply } as GlobalRequest)
    await this.forwards.requested
  }

  /** A target opens a channel to what it was lent. Says whether the client was asked for it. */
  async fromTarget(upstream: Connection, type: string, payload: Buffer): Promise<boolean> {
    let accepted = false
    const accept = () => {
      accepted = true
      return this.#channel()
    }
    const open = { type, payload, accept, reject: () => {} } as unknown as ChannelOpen
    await this.forwards.fromTarget(upstream, open)
    return accepted
  }

  async kill(): Promise<void> {
    this.forwards.endSessions(() => true, new SessionKilled('enough'), 'killed')
    await vi.advanceTimersByTimeAsync(0)
  }

  async #target(done: Promise<void>): Promise<Connection> {
    return {
      done,
      peerAddress: '192.0.2.7',
      globalRequest: (name: string, _payload: Buffer, wantReply: boolean) => {
        this.asked.push({ name, wantReply })
        return wantReply ? this.answer : Promise.resolve(false)
      },
      openChannel: async () => this.#channel(),
    } as unknown as Connection
  }

  #channel(): Channel {
    let closed = () => {}
    return {
      handle: (handlers: { close(): void }) => {
        closed = () => handlers.close()
        this.closed.push(closed)
      },
      abort: () => this.answersClose && closed(),
      close: () => {},
    } as unknown as Channel
  }
}

test('attack: no request that is longer than any address waits for a target that does not answer', async () => {
  const lab = new Lab()
  lab.dial = new Promise(() => {})
  void lab.listen(81)
  const payload = Buffer.alloc(65_000)
  const reply = (success: boolean) => void lab.replies.push(success)
  lab.forwards.request({ name: 'tcpip-forward', payload, wantReply: true, reply } as GlobalRequest)
  // At once: what waits behind the first one is held in memory until that is answered.
  expect(lab.replies).toEqual([false])
})

describe('attack: a target that does not answer', () => {
  test('does not keep a session that is killed while it is dialled', async () => {
    const lab = new Lab()
    lab.dial = new Promise(() => {})
    void lab.open()
    await vi.advanceTimersByTimeAsync(10)
    await lab.kill()
    expect(lab.ended).toEqual([{ session: 's1', reason: 'killed' }])
    expect(lab.refusals).toEqual([expect.stringContaining('ERR_SESSION_KILLED')])
    expect(lab.forwards.busy).toBe(0)
  })

  test('is not waited for when it is asked to listen, or to stop', async () => {
    const lab = new Lab()
    await lab.listen(81)
    const late = Promise.withResolvers<Buffer | false>()
    lab.answer = late.promise
    void lab.listen(82)
    void lab.listen(81, 'cancel-tcpip-forward')
    await vi.advanceTimersByTimeAsync(60_000)
    expect(lab.replies).toEqual([true, false, false])
    // What it comes to listen at after that is taken back.
    late.resolve(Buffer.alloc(0))
    await vi.advanceTimersByTimeAsync(0)
    expect(lab.asked.at(-1)).toEqual({ name: 'cancel-tcpip-forward', wantReply: false })
  })

  test('to the close of its channels takes no place for them, and each is counted once', async () => {
    const lab = new Lab()
    lab.answersClose = false
    for (let at = 0; at < forwardsMax; at++) await lab.open()
    await lab.open()
    expect(lab.refusals).toEqual([expect.stringContaining('ERR_FORWARD_LIMIT')])
    await lab.kill()
    await vi.advanceTimersByTimeAsync(5000)
    expect(lab.forwards.busy).toBe(0)
    // Their answers come after all: a count that fell below nothing would let in more than are allowed.
    for (const closed of lab.closed) closed()
    for (let at = 0; at < forwardsMax + 1; at++) await lab.open()
    expect(lab.refusals).toHaveLength(2)
  })
})

test.each(['a kill', 'the end of the target'])(
  'listeners end with %s, and as many may be asked for again',
  async (how) => {
    const lab = new Lab()
    for (let port = 1; port <= 11; port++) await lab.listen(port)
    expect(lab.replies).toEqual([...Array(10).fill(true), false])
    if (how === 'a kill') {
      await lab.kill()
      const taken = lab.asked.filter(({ name }) => name === 'cancel-tcpip-forward')
      expect(taken).toHaveLength(10)
    } else {
      lab.died.resolve()
      await vi.advanceTimersByTimeAsync(0)
      expect(lab.ended).toEqual([{ session: 's1', reason: 'target-gone' }])
    }
    lab.replies.splice(0)
    lab.redial()
    for (let port = 1; port <= 11; port++) await lab.listen(port)
    expect(lab.replies).toEqual([...Array(10).fill(true), false])
  },
)

test('attack: requests to listen without end, behind a target that does not answer', async () => {
  const lab = new Lab()
  lab.dial = new Promise(() => {})
  const refused: number[] = []
  const payload = new Writer().text('localhost').u32(8080).build()
  for (let count = 0; count < 600; count++) {
    const reply = (success: boolean) => void (success || refused.push(count))
    const request = { name: 'tcpip-forward', payload, wantReply: true, reply }
    lab.forwards.request(request as unknown as GlobalRequest)
  }
  // Each beyond the limit is refused by itself, at once; the others wait for the target.
  expect(refused).toEqual(Array.from({ length: 88 }, (_, at) => 512 + at))
})

test('attack: a malformed open of a target does not reach the client, whose other sessions it would end', async () => {
  const lab = new Lab()
  const upstream = await lab.dial
  for (const kind of ['x11', 'agent'] as const) {
    lab.forwards.lend(upstream, { kind, session: 's1' as SessionId }, true)
  }
  const origin = new Writer().text('127.0.0.1').u32(6010).build()
  for (const [type, good] of [
    ['x11', origin],
    ['auth-agent@openssh.com', Buffer.alloc(0)],
  ] as const) {
    for (const bad of [
      Buffer.concat([good, Buffer.of(0)]),
      ...(good.length > 0 ? [good.subarray(0, 7), Buffer.alloc(0)] : []),
    ]) {
      expect([type, await lab.fromTarget(upstream, type, bad)]).toEqual([type, false])
    }
    expect([type, await lab.fromTarget(upstream, type, good)]).toEqual([type, true])
  }
  // OpenSSH ends on a NUL within a text.
  const odd = new Writer().text('127.0.0.1\0\x1b[2J').u32(6010).build()
  expect(await lab.fromTarget(upstream, 'x11', odd)).toBe(true)
  const plain = new Writer().text('127.0.0.1??[2J').u32(6010).build()
  expect(lab.shownToClient.at(-1)).toEqual(plain)
})
