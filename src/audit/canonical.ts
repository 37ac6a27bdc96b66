/** Canonical JSON: RFC 8785 (JCS) without numbers and null, so that every reader reads the same. */

import canonicalize from 'canonicalize'

/** The values that a leaf may have. */
export type Canonical =
  | string
  | boolean
  | readonly Canonical[]
  | { readonly [key: string]: Canonical }

const depthMax = 8

export function encodeCanonical(value: Canonical): Buffer {
  const problem = outsideProfile(value, 0)
  if (problem !== undefined) throw new TypeError(`not canonical JSON: ${problem}`)
  return Buffer.from(canonicalize(value) ?? '', 'utf8')
}

/**
 * Reads bytes that must be exactly the output of encodeCanonical: no other spacing, escapes, order
 * of keys, duplicate keys or byte order mark. undefined for all other bytes.
 */
export function decodeCanonical(bytes: Uint8Array): Canonical | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'))
    if (!isCanonical(value, 0)) return undefined
    return encodeCanonical(value).equals(bytes) ? value : undefined
  } catch {
    // Not JSON, or nested more deeply than the stack: not canonical in either case.
    return undefined
  }
}

function isCanonical(value: unknown, depth: number): value is Canonical {
  return outsideProfile(value, depth) === undefined
}

function outsideProfile(value: unknown, depth: number): string | undefined {
  if (depth > depthMax) return `nested more than ${depthMax} deep`
  if (typeof value === 'string') return value.isWellFormed() ? undefined : 'a lone surrogate'
  if (typeof value === 'boolean') return undefined
  if (typeof value !== 'object' || value === null)
    return `a ${value === null ? 'null' : typeof value}`
  if (Array.isArray(value)) return firstProblem(value, depth)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return 'an object of a class'
  return firstProblem(Object.keys(value), depth) ?? firstProblem(Object.values(value), depth)
}

function firstProblem(values: readonly unknown[], depth: number): string | undefined {
  for (const value of values) {
    const problem = outsideProfile(value, depth + 1)
    if (problem !== undefined) return problem
  }
  return undefined
}
