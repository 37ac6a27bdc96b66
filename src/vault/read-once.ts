/** So many are kept of one kind. */
const keptMax = 500
/** The line of an RSA key of 16384 bits is shorter. A longer text is no key of ours, and is not kept. */
const lengthMax = 8192

/**
 * Remembers what was read of the public keys of our own that were used last, so that a login does not read them
 * again. What is read depends on the given text alone: another text is another key. Nothing secret goes here, and
 * no key of a stranger, who could tell by the time that somebody else used it.
 */
export class ReadOnce<Value> {
  readonly #read: (text: string) => Value
  readonly #kept = new Map<string, Value>()

  constructor(read: (text: string) => Value) {
    this.#read = read
  }

  /** Keeps nothing when the reader throws. */
  of(text: string): Value {
    if (text.length > lengthMax) return this.#read(text)
    const kept = this.#kept.get(text)
    // The one that was used longest ago goes first.
    if (kept !== undefined) this.#kept.delete(text)
    const value = kept ?? this.#read(text)
    const [oldest] = this.#kept.keys()
    if (oldest !== undefined && this.#kept.size >= keptMax) this.#kept.delete(oldest)
    this.#kept.set(text, value)
    return value
  }
}
