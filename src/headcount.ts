/** Counts the things of each user, so that one user cannot use up a shared limit. */
export class Headcount {
  readonly #counts = new Map<string, number>()
  readonly #max: number

  constructor(max: number) {
    this.#max = max
  }

  /** False if the user has reached the limit; otherwise call leave() once. */
  enter(user: string): boolean {
    const count = this.#counts.get(user) ?? 0
    if (count >= this.#max) return false
    this.#counts.set(user, count + 1)
    return true
  }

  leave(user: string): void {
    const left = (this.#counts.get(user) ?? 1) - 1
    if (left === 0) this.#counts.delete(user)
    else this.#counts.set(user, left)
  }
}
