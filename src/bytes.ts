/**
 * The same bytes in memory of their own. For bytes that are kept: a small buffer is otherwise a
 * piece of Node's pool, and the whole pool of 64 KiB lives as long as its longest kept piece.
 */
export function keep(bytes: Uint8Array): Buffer {
  const kept = Buffer.allocUnsafeSlow(bytes.length)
  kept.set(bytes)
  return kept
}
