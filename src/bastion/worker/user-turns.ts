import { type TurnOwner, Turns } from '../../turns.ts'

/** The turns of one user. */
interface Line {
  readonly turns: Turns
  /** Works that have a turn, and works that wait for one. */
  works: number
}

/** Lets each user have a number of works under way at the same time. The others of that user wait. */
export class UserTurns {
  readonly #atOnce: number
  /** Of users who have works. */
  readonly #lines = new Map<string, Line>()

  constructor(atOnce: number) {
    this.#atOnce = atOnce
  }

  /** Resolves when the turn begins. It ends when the answer is disposed of, which is done once. */
  async take({ tenant, user }: TurnOwner): Promise<Disposable> {
    const key = `${tenant}/${user}`
    const line = this.#lines.get(key) ?? { turns: new Turns(this.#atOnce), works: 0 }
    this.#lines.set(key, line)
    line.works++
    const turn = await line.turns.take()
    return {
      [Symbol.dispose]: () => {
        turn[Symbol.dispose]()
        if (--line.works === 0) this.#lines.delete(key)
      },
    }
  }
}
