/**
 * Merkle trees straight from the definitions of RFC 6962 section 2.1, and nothing of the product: slow,
 * and easy to compare with the text of the RFC.
 */

import { createHash } from 'node:crypto'

/** D[n]. */
type Entries = readonly Uint8Array[]

const sha256 = (...parts: readonly Uint8Array[]): Buffer => {
  const digest = createHash('sha256')
  for (const part of parts) digest.update(part)
  return digest.digest()
}

/** MTH(D[n]), section 2.1. */
export function treeHashOf(entries: Entries): Buffer {
  const [only] = entries
  if (only === undefined) return sha256()
  if (entries.length === 1) return sha256(Uint8Array.of(0x00), only)
  const k = splitOf(entries.length)
  return sha256(Uint8Array.of(0x01), treeHashOf(entries.slice(0, k)), treeHashOf(entries.slice(k)))
}

/** PATH(m, D[n]), section 2.1.1. */
export function pathOf(m: number, entries: Entries): Buffer[] {
  const n = entries.length
  if (n === 1) return []
  const k = splitOf(n)
  return m < k
    ? [...pathOf(m, entries.slice(0, k)), treeHashOf(entries.slice(k))]
    : [...pathOf(m - k, entries.slice(k)), treeHashOf(entries.slice(0, k))]
}

/** PROOF(m, D[n]), section 2.1.2. */
export function proofOf(m: number, entries: Entries): Buffer[] {
  return subproofOf(m, entries, true)
}

/** SUBPROOF(m, D[n], b), section 2.1.2. */
function subproofOf(m: number, entries: Entries, b: boolean): Buffer[] {
  const n = entries.length
  if (m === n) return b ? [] : [treeHashOf(entries)]
  const k = splitOf(n)
  return m <= k
    ? [...subproofOf(m, entries.slice(0, k), b), treeHashOf(entries.slice(k))]
    : [...subproofOf(m - k, entries.slice(k), false), treeHashOf(entries.slice(0, k))]
}

/** The largest power of two that is smaller than n. */
function splitOf(n: number): number {
  let k = 1
  for (let next = 2; next < n; next *= 2) k = next
  return k
}
