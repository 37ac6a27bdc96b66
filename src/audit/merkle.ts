/** Merkle trees over SHA-256, as in RFC 6962 section 2.1; verifiers as in RFC 9162 section 2.1. */

import { hash } from 'node:crypto'

/** The part of a tree that is needed to append to it: O(log size) hashes. */
export interface CompactRange {
  readonly size: number
  /** Roots of the perfect subtrees, largest first: one for each bit set in size. */
  readonly hashes: readonly Buffer[]
}

export const emptyTree: CompactRange = { size: 0, hashes: [] }

export function appendLeaf(tree: CompactRange, leaf: Uint8Array): CompactRange {
  return appendLeafHash(tree, leafHash(leaf))
}

export function appendLeafHash({ size, hashes }: CompactRange, leaf: Buffer): CompactRange {
  const kept = hashes.slice(0, hashes.length - trailingOnes(size))
  const completed = hashes.slice(kept.length)
  return { size: size + 1, hashes: [...kept, merge([...completed, leaf])] }
}

export function rootHash({ size, hashes }: CompactRange): Buffer {
  return size === 0 ? sha256() : merge(hashes)
}

/** Whether it is a range at all: as many hashes as bits in size, each of them whole. */
export function isCompactRange({ size, hashes }: CompactRange): boolean {
  if (!Number.isSafeInteger(size) || size < 0) return false
  // Of a database that somebody changed: an array there may hold nulls, and arrays.
  const isNode = (node: unknown) => Buffer.isBuffer(node) && node.length === 32
  return hashes.length === bitsIn(size) && hashes.every(isNode)
}

// The domain bytes keep a leaf from passing for a node: RFC 6962 section 2.1.
export const leafHash = (leaf: Uint8Array): Buffer => sha256(Buffer.of(0), leaf)
export const nodeHash = (left: Uint8Array, right: Uint8Array): Buffer =>
  sha256(Buffer.of(1), left, right)

/** The path that proves the leaf at index to the root of these leaves (RFC 6962 section 2.1.1). */
export function inclusionProof(index: number, leaves: readonly Buffer[]): Buffer[] {
  if (index < 0 || index >= leaves.length) throw new RangeError(`no leaf ${index}`)
  if (leaves.length === 1) return []
  const split = largestPowerBelow(leaves.length)
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)]
  return index < split
    ? [...inclusionProof(index, left), treeHash(right)]
    : [...inclusionProof(index - split, right), treeHash(left)]
}

/** The nodes that prove the first `size` leaves to be a prefix (RFC 6962 section 2.1.2). */
export function consistencyProof(size: number, leaves: readonly Buffer[]): Buffer[] {
  if (size < 1 || size > leaves.length) throw new RangeError(`no tree of ${size} leaves`)
  return subproof(size, leaves, true)
}

function subproof(size: number, leaves: readonly Buffer[], known: boolean): Buffer[] {
  if (size === leaves.length) return known ? [] : [treeHash(leaves)]
  const split = largestPowerBelow(leaves.length)
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)]
  return size <= split
    ? [...subproof(size, left, known), treeHash(right)]
    : [...subproof(size - split, right, false), treeHash(left)]
}

/** Whether a leaf hash is at index in the tree of that size and root (RFC 9162 section 2.1.3.2). */
export function verifyInclusion(claim: {
  readonly leafHash: Buffer
  readonly index: number
  readonly size: number
  readonly proof: readonly Buffer[]
  readonly root: Buffer
}): boolean {
  const { index, size, proof, root } = claim
  if (!areCounts(index, size) || index >= size || !areHashes(proof, root)) return false
  let [fn, sn, node] = [index, size - 1, claim.leafHash]
  for (const sibling of proof) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      node = nodeHash(sibling, node)
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      node = nodeHash(node, sibling)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && node.equals(root)
}

/**
 * Whether the tree of size1 and root1 is a prefix of the one of size2 and root2 (RFC 9162 section
 * 2.1.4.2). A tree without leaves proves nothing, and is refused.
 */
export function verifyConsistency(claim: {
  readonly size1: number
  readonly root1: Buffer
  readonly size2: number
  readonly root2: Buffer
  readonly proof: readonly Buffer[]
}): boolean {
  const { size1, root1, size2, root2, proof } = claim
  if (!areCounts(size1, size2) || size1 < 1 || size1 > size2) return false
  if (!areHashes(proof, root1, root2)) return false
  if (size1 === size2) return proof.length === 0 && root1.equals(root2)
  const [first, ...rest] = isPowerOfTwo(size1) ? [root1, ...proof] : proof
  if (first === undefined) return false
  let [fn, sn] = [size1 - 1, size2 - 1]
  while (fn % 2 === 1) [fn, sn] = [half(fn), half(sn)]
  let [old, now] = [first, first]
  for (const node of rest) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      ;[old, now] = [nodeHash(node, old), nodeHash(node, now)]
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [half(fn), half(sn)]
    } else {
      now = nodeHash(now, node)
    }
    ;[fn, sn] = [half(fn), half(sn)]
  }
  return sn === 0 && old.equals(root1) && now.equals(root2)
}

function treeHash(leaves: readonly Buffer[]): Buffer {
  return rootHash(leaves.reduce(appendLeafHash, emptyTree))
}

function merge(hashes: readonly Buffer[]): Buffer {
  return hashes.reduceRight((right, left) => nodeHash(left, right))
}

/** How many perfect subtrees one more leaf completes. */
function trailingOnes(size: number): number {
  return size % 2 === 0 ? 0 : 1 + trailingOnes((size - 1) / 2)
}

function bitsIn(size: number): number {
  return size === 0 ? 0 : (size % 2) + bitsIn(half(size))
}

// Sizes may be above 2^31, where the bit operators of the language stop.
const half = (n: number) => Math.floor(n / 2)
const isPowerOfTwo = (n: number) => bitsIn(n) === 1

function largestPowerBelow(n: number): number {
  let power = 1
  while (power * 2 < n) power *= 2
  return power
}

function areCounts(...counts: number[]): boolean {
  return counts.every((n) => Number.isSafeInteger(n) && n >= 0)
}

function areHashes(proof: readonly Buffer[], ...roots: Buffer[]): boolean {
  // No tree that a number can count is deeper than its 53 bits, twice over for consistency.
  return proof.length <= 128 && [...proof, ...roots].every((node) => node.length === 32)
}

function sha256(...parts: Uint8Array[]): Buffer {
  return hash('sha256', Buffer.concat(parts), 'buffer')
}
