/** A session is known by its channel within moments of its commit. */
const keptMs = 60_000
const noticesMax = 10_000

/**
 * The kills of sessions and forwards. A kill can arrive between the commit of a session's start and
 * the moment in which its channel knows the session. It is kept until then.
 */
export class KillNotices {
  readonly #reasons = new Map<string, { readonly reason: string; readonly at: number }>()

  note(name: string, reason: string): void {
    const now = performance.now()
    for (const [old, { at }] of this.#reasons) {
      if (now - at < keptMs && this.#reasons.size < noticesMax) break
      this.#reasons.delete(old)
    }
    this.#reasons.set(name, { reason, at: now })
  }

  reasonFor(name: string): string | undefined {
    return this.#reasons.get(name)?.reason
  }
}
