import { expect, test } from 'vitest'
import {
  appendLeaf,
  consistencyProof,
  emptyTree,
  inclusionProof,
  leafHash,
  rootHash,
  verifyConsistency,
  verifyInclusion,
} from '../../src/audit/merkle.ts'
import { pathOf, proofOf, treeHashOf } from '../support/rfc6962.ts'
import vectors from '../vectors/rfc6962.json' with { type: 'json' }

const hex = (nodes: readonly Buffer[]) => nodes.map((node) => node.toString('hex'))
const bytes = (nodes: readonly string[]) => nodes.map((node) => Buffer.from(node, 'hex'))
const leaves = bytes(vectors.leaves)
const hashes = leaves.map(leafHash)
const root = (size: number) => Buffer.from(vectors.roots[size] ?? '', 'hex')

test.each(vectors.roots.map((expected, size) => ({ size, expected })))(
  'has the published root of the first $size leaves',
  ({ size, expected }) => {
    const tree = leaves.slice(0, size).reduce(appendLeaf, emptyTree)
    expect(rootHash(tree).toString('hex')).toBe(expected)
    expect(treeHashOf(leaves.slice(0, size)).toString('hex')).toBe(expected)
  },
)

test.each(vectors.inclusion)(
  'makes and takes the published path of leaf $index among $size',
  ({ index, size, proof }) => {
    expect(hex(inclusionProof(index, hashes.slice(0, size)))).toEqual(proof)
    const [leaf = Buffer.alloc(0)] = hashes.slice(index)
    const claim = { leafHash: leaf, index, size, proof: bytes(proof), root: root(size) }
    expect(verifyInclusion(claim)).toBe(true)
    expect(verifyInclusion({ ...claim, root: root(size - 1) })).toBe(false)
    expect(verifyInclusion({ ...claim, index: (index + 1) % (size + 1) })).toBe(false)
    expect(verifyInclusion({ ...claim, proof: [...claim.proof, leaf] })).toBe(false)
    expect(verifyInclusion({ ...claim, leafHash: root(size - 1) })).toBe(false)
  },
)

test.each(vectors.consistency)(
  'makes and takes the published proof from $size1 to $size2 leaves',
  ({ size1, size2, proof }) => {
    expect(hex(consistencyProof(size1, hashes.slice(0, size2)))).toEqual(proof)
    const claim = { size1, size2, root1: root(size1), root2: root(size2), proof: bytes(proof) }
    expect(verifyConsistency(claim)).toBe(true)
    expect(verifyConsistency({ ...claim, root1: root(size1 - 1) })).toBe(false)
    expect(verifyConsistency({ ...claim, root2: root(size2 - 1) })).toBe(false)
    expect(verifyConsistency({ ...claim, proof: [...claim.proof, root(1)] })).toBe(false)
    if (proof.length > 0) {
      expect(verifyConsistency({ ...claim, proof: claim.proof.slice(1) })).toBe(false)
    }
  },
)

test('agrees with the definitions of the RFC on every tree, path and proof up to 40 leaves', () => {
  const entries = Array.from({ length: 40 }, (_, i) => Buffer.from(`entry ${i}`))
  const entryHashes = entries.map(leafHash)
  for (let size = 1; size <= entries.length; size += 1) {
    const part = entries.slice(0, size)
    expect(rootHash(part.reduce(appendLeaf, emptyTree))).toEqual(treeHashOf(part))
    for (let index = 0; index < size; index += 1) {
      expect(inclusionProof(index, entryHashes.slice(0, size))).toEqual(pathOf(index, part))
      expect(consistencyProof(index + 1, entryHashes.slice(0, size))).toEqual(
        proofOf(index + 1, part),
      )
    }
  }
})
