import { lookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { type TurnOwner, Turns } from '../../turns.ts'

/** Node looks up names with half of its threads: `src/main/fork.ts` gives a worker twice as many. */
export const lookupsAtOnce = 8

/**
 * Looks up the names of targets as the system does, which takes a thread for each. A name server that is
 * silent holds a thread for ten seconds and more, also when nobody waits for the answer any longer. So each
 * tenant has a fair share of them: see Turns.
 */
export class NameLookups {
  readonly #turns = new Turns(lookupsAtOnce)
  readonly #lookup: LookupFunction

  constructor(look: LookupFunction = lookup) {
    this.#lookup = look
  }

  /** For one connection. A look-up that waits for its turn is given up when the signal is aborted. */
  of(owner: TurnOwner, ended: AbortSignal): LookupFunction {
    return (host, options, done) => {
      this.#turns.take(owner, ended).then(
        (turn) =>
          this.#lookup(host, options, (err, address, family) => {
            turn[Symbol.dispose]()
            done(err, address, family)
          }),
        (err: NodeJS.ErrnoException) => done(err, ''),
      )
    }
  }
}
