import type { SessionId } from '../../../recorder/index.ts'
import type { ChannelOpen, Connection } from '../../../ssh/index.ts'
import type { ForwardChannel } from './forward-channel.ts'

/** A session that lets its target use the client's agent or display. */
export interface Loan {
  readonly kind: 'agent' | 'x11'
  readonly session: SessionId
}

/** A loan with the channels that the target has opened by it. */
export interface LoanInUse extends Loan {
  readonly channels: Set<ForwardChannel>
}

/** The loans of all sessions that share one connection to a target. */
interface Lending {
  readonly loans: LoanInUse[]
  /** The target listens for programs that ask for an agent, and does so until the connection closes. */
  takesAgents: boolean
}

/** The agents and displays that a client lends its targets. */
export class Lendings {
  readonly #lendings = new WeakMap<Connection, Lending>()

  /**
   * Lets a target open channels to the client's agent or display. The returned function ends the
   * loan and closes its open channels. A target that did not accept gets no loan. Exception:
   * OpenSSH's server accepts one agent for a connection, serves all sessions with it, and refuses
   * the second.
   */
  lend(upstream: Connection, loan: Loan, isTaken: boolean): () => void {
    const lending = this.#lendings.get(upstream) ?? { loans: [], takesAgents: false }
    this.#lendings.set(upstream, lending)
    if (isTaken && loan.kind === 'agent') lending.takesAgents = true
    if (!isTaken && (loan.kind !== 'agent' || !lending.takesAgents)) return () => {}
    const { loans } = lending
    const used: LoanInUse = { ...loan, channels: new Set() }
    loans.push(used)
    return () => {
      loans.splice(loans.indexOf(used), 1)
      for (const channel of used.channels) channel.end()
    }
  }

  /** The loan by which a target opens a channel, if there is one. */
  find(upstream: Connection, { type }: ChannelOpen): LoanInUse | undefined {
    const kind = type === 'auth-agent@openssh.com' ? 'agent' : type === 'x11' ? 'x11' : undefined
    return this.#lendings.get(upstream)?.loans.find((loan) => loan.kind === kind)
  }
}
