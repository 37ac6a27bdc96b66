/** How many of something each user has, so that one user does not take what is everybody's. */
export class Headcount {
  readonly #counts = new Map<string, number>()
  readonly #max: number

  constructor(max: number) {
    this.#max = max
  }

  /** False when the user has as many as anybody may; otherwise leave() is due once. */
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
