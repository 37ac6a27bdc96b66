import { type ChannelRequest, Reader } from '../../../ssh/index.ts'
import { environmentMax, mayCarry } from './environment.ts'
import type { Loans } from './loans.ts'
import { type Pty, parsePty, parseSize } from './pty.ts'
import type { SessionContext } from './session-context.ts'
import type { TargetStart } from './target-start.ts'

/** The client's start request and its parsed contents. */
export interface Start extends Pick<TargetStart, 'kind' | 'command'> {
  readonly request: ChannelRequest
}

/** The client's settings for its session: its requests before the start. */
export class SessionSetup {
  readonly #context: Pick<SessionContext, 'mayHavePty' | 'forceCommand'>
  readonly #loans: Loans
  readonly #environment: [name: string, value: string][] = []
  #pty: Pty | undefined

  constructor(context: Pick<SessionContext, 'mayHavePty' | 'forceCommand'>, loans: Loans) {
    this.#context = context
    this.#loans = loans
  }

  get pty(): Pty | undefined {
    return this.#pty
  }

  get environment(): readonly (readonly [name: string, value: string])[] {
    return this.#environment
  }

  /**
   * The start that a request asks for: it is answered when that is done. Any other is answered at
   * once, for some clients wait for each answer before they go on. Throws WireError.
   */
  ask(request: ChannelRequest): Start | undefined {
    switch (request.name) {
      case 'pty-req':
        if (!this.#context.mayHavePty) return void request.reply(false)
        this.#pty = parsePty(request.payload)
        return void request.reply(true)
      case 'window-change':
        this.resize(request.payload)
        return void request.reply(true)
      case 'env':
        return void request.reply(this.#setEnvironment(request.payload))
      case 'shell':
        return this.#forced({ kind: 'shell', request, command: undefined })
      case 'exec':
        return this.#forced({ kind: 'exec', request, command: readString(request.payload) })
      case 'subsystem': {
        const name = readString(request.payload).toString('latin1')
        if (name === 'sftp') return this.#forced({ kind: 'sftp', request, command: undefined })
        return void request.reply(false)
      }
      case 'auth-agent-req@openssh.com':
      case 'x11-req':
        return void this.#loans.ask(request.name === 'x11-req' ? 'x11' : 'agent', request)
      default:
        return void request.reply(false)
    }
  }

  /** Without a terminal there is no size. */
  resize(payload: Buffer): void {
    if (this.#pty !== undefined) this.#pty = { ...this.#pty, ...parseSize(payload) }
  }

  #forced(asked: Start): Start {
    const { forceCommand } = this.#context
    return forceCommand === undefined
      ? asked
      : { kind: 'exec', request: asked.request, command: Buffer.from(forceCommand) }
  }

  #setEnvironment(payload: Buffer): boolean {
    const reader = new Reader(payload)
    const name = reader.string().toString('latin1')
    const value = reader.string().toString('latin1')
    reader.end()
    if (this.#environment.length >= environmentMax || !mayCarry(name, value)) return false
    this.#environment.push([name, value])
    return true
  }
}

function readString(payload: Buffer): Buffer {
  const reader = new Reader(payload)
  const value = reader.string()
  reader.end()
  return value
}
