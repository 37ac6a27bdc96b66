import { type LookupAddress, lookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { promisify } from 'node:util'
import type { TurnOwner } from '../../turns.ts'
import { TimedTurns } from '../wire/timed-turns.ts'
import { lookupsAtOnce } from '../wire/worker-threads.ts'

/** All addresses of a name, as the system finds them. */
export type FindAddresses = (host: string) => Promise<readonly LookupAddress[]>

const lookupAll = promisify(lookup)
const findAddresses: FindAddresses = (host) => lookupAll(host, { all: true })
/** Less than a dial may take, so that its error says that it was the name. */
const waitMs = 8000

/**
 * Finds targets by their names, as every program on this host does. The system cannot call off a look-up,
 * and each takes a thread until the name servers answer or it gives up. So tenants take turns.
 */
export class TargetNames {
  readonly #find: FindAddresses
  readonly #turns = new TimedTurns(lookupsAtOnce, waitMs)

  constructor(find: FindAddresses = findAddresses) {
    this.#find = find
  }

  /** For one dial of this owner. Fails with EAI_AGAIN when neither a turn nor an answer comes in time. */
  lookupFor(owner: TurnOwner): LookupFunction {
    return (host, { all = false }, answer) => {
      this.#turns
        .run(owner, () => this.#find(host))
        .then(
          (found) => {
            const [first] = found
            if (first === undefined) answer(noAddress('ENOTFOUND'), '')
            else if (all) answer(null, [...found])
            else answer(null, first.address, first.family)
          },
          (err: unknown) =>
            answer(err instanceof Error && isSystems(err) ? err : noAddress('EAI_AGAIN', err), ''),
        )
    }
  }
}

function noAddress(code: string, cause?: unknown): NodeJS.ErrnoException {
  return Object.assign(new Error('no address is known for the name', { cause }), { code })
}

function isSystems(err: NodeJS.ErrnoException): boolean {
  return typeof err.code === 'string'
}
