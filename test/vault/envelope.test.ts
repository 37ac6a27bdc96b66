import { execFileSync, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type EnvelopeKind,
  envelopeKey,
  envelopeKinds,
  formatOf,
  openEnvelope,
  type Place,
  parseHeader,
  randomKeyBytes,
  sealEnvelope,
  wipeKey,
} from '../../src/vault/envelope.ts'
import vectors1 from '../vectors/bve1-envelopes.json' with { type: 'json' }
import vectors2 from '../vectors/bve2-envelopes.json' with { type: 'json' }

const script = join(import.meta.dirname, 'bve1.py')
const python = spawnSync('python3', ['-c', 'import cryptography']).status === 0
const tenant = '00000000-0000-4000-8000-000000000001'
const place: Place = { tenant, path: `vps/${tenant}/admin_ssh`, version: 3, kind: 'secret' }

interface Vector {
  readonly kind: number
  readonly tenant: string
  readonly path: string
  readonly place_version: number
  readonly version: number
  readonly size: number
  readonly key: string
  readonly salt: string
  readonly sealed_sha256: string
  readonly sealed?: string
  /** In BVE2. */
  readonly public?: string
}
const vectors: readonly Vector[] = [...vectors1.cases, ...vectors2.cases]

test.each(vectors)('seals the vector of $size bytes, kind $kind, byte for byte', (vector) => {
  const key = envelopeKey(Buffer.from(vector.key, 'hex'), vector.version)
  const plaintext = plaintextOf(vector.size)
  const sealed = sealEnvelope(key, placeOf(vector), plaintext, Buffer.from(vector.salt, 'hex'))
  expect(createHash('sha256').update(sealed).digest('hex')).toBe(vector.sealed_sha256)
  if ('sealed' in vector) expect(sealed.toString('hex')).toBe(vector.sealed)
  expect(openEnvelope(key, placeOf(vector), sealed)).toEqual(plaintext)
})

test.runIf(python)(
  'is opened by another implementation, and opens nothing that it would not',
  () => {
    const cases = vectors.map((vector) => {
      const key = envelopeKey(Buffer.from(vector.key, 'hex'), vector.version)
      const sealed = sealEnvelope(key, placeOf(vector), plaintextOf(vector.size))
      return { ...vector, sealed: sealed.toString('hex') }
    })
    const moved = cases.map((vector) => ({ ...vector, tenant: tenant.replace('1', '2') }))
    const swapped = cases
      .filter(({ public: text }) => text !== undefined)
      .map((vector) => ({ ...vector, public: `${vector.public} of another` }))
    const input = JSON.stringify([...cases, ...moved, ...swapped])
    const output = execFileSync('python3', [script, 'open'], { input, maxBuffer: 64 << 20 })
    expect(JSON.parse(output.toString())).toEqual([
      ...cases.map(({ size }) => plaintextOf(size).toString('hex')),
      ...moved.map(() => null),
      ...swapped.map(() => null),
    ])
  },
)

test('does not open when any one byte is changed', () => {
  const key = envelopeKey(randomKeyBytes(), 1)
  const sealed = sealEnvelope(key, place, Buffer.from('a secret of some bytes'))
  expect(openEnvelope(key, place, sealed)).toBeDefined()
  for (let at = 0; at < sealed.length; at++) {
    for (const flip of [0x01, 0x80, 0xff]) {
      const changed = Buffer.from(sealed)
      changed[at] = (changed[at] ?? 0) ^ flip
      expect(openEnvelope(key, place, changed), `byte ${at} ^ ${flip}`).toBeUndefined()
    }
  }
})

test('does not open when its commitment is zeroed or gone', () => {
  const key = envelopeKey(randomKeyBytes(), 1)
  const sealed = sealEnvelope(key, place, Buffer.from('secret'))
  const zeroed = Buffer.from(sealed).fill(0, 50, 82)
  const removed = Buffer.concat([sealed.subarray(0, 50), sealed.subarray(82)])
  expect(openEnvelope(key, place, zeroed)).toBeUndefined()
  expect(openEnvelope(key, place, removed)).toBeUndefined()
})

test('attack: beside another public half, or as the other format, no envelope opens', () => {
  const key = envelopeKey(randomKeyBytes(), 1)
  const halves = [undefined, '', 'ssh-ed25519 AAAA', 'ssh-ed25519 AAAB', 'ssh-ed25519 AAAA\n']
  const placeWith = (publicText: string | undefined): Place =>
    publicText === undefined ? place : { ...place, publicText }
  for (const sealedWith of halves) {
    const sealed = sealEnvelope(key, placeWith(sealedWith), Buffer.from('secret'))
    expect(formatOf(sealed)).toBe(sealedWith === undefined ? 1 : 2)
    for (const openedWith of halves) {
      const opened = openEnvelope(key, placeWith(openedWith), sealed)
      expect(opened !== undefined, `${sealedWith} as ${openedWith}`).toBe(sealedWith === openedWith)
    }
    const relabelled = Buffer.from(sealed)
    relabelled.write(sealedWith === undefined ? 'BVE2' : 'BVE1')
    for (const openedWith of halves) {
      expect(openEnvelope(key, placeWith(openedWith), relabelled)).toBeUndefined()
    }
  }
})

test('opens in its own place only: tenant, path, version, kind, key and key version', () => {
  const bytes = randomKeyBytes()
  const places: Place[] = []
  for (const one of [tenant, '00000000-0000-4000-8000-000000000002']) {
    for (const path of ['vps/a', 'vps/b']) {
      for (const version of [1, 2]) {
        for (const kind of Object.keys(envelopeKinds) as EnvelopeKind[]) {
          places.push({ tenant: one, path, version, kind })
        }
      }
    }
  }
  const keys = [envelopeKey(bytes, 1), envelopeKey(bytes, 2), envelopeKey(randomKeyBytes(), 1)]
  const homes = places.flatMap((home) => keys.map((key) => ({ key, home })))
  const envelopes = homes.map(({ key, home }) => sealEnvelope(key, home, Buffer.from('x')))
  for (const [row, envelope] of envelopes.entries()) {
    for (const [column, { key, home }] of homes.entries()) {
      const opened = openEnvelope(key, home, envelope)
      if ((opened !== undefined) !== (row === column)) expect.fail(`${row} opened as ${column}`)
    }
  }
})

test('gives no two places one context, however their fields are cut', () => {
  const key = envelopeKey(randomKeyBytes(), 1)
  const [one, two] = [
    { ...place, tenant: 'ab', path: 'c' },
    { ...place, tenant: 'a', path: 'bc' },
  ]
  expect(openEnvelope(key, two, sealEnvelope(key, one, Buffer.from('x')))).toBeUndefined()
})

test('opens what it sealed, whatever was sealed', () => {
  const key = envelopeKey(randomKeyBytes(), 1)
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40_000 }),
      fc.string(),
      fc.nat(),
      (bytes, path, version) => {
        const home = { ...place, path, version }
        const opened = openEnvelope(key, home, sealEnvelope(key, home, bytes))
        expect(opened?.equals(bytes)).toBe(true)
      },
    ),
    { numRuns: 50 },
  )
})

test('takes any bytes for an envelope without throwing', () => {
  const key = envelopeKey(randomKeyBytes(), 1)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(openEnvelope(key, place, bytes)).toBeUndefined()
      expect(() => parseHeader(Buffer.from(bytes))).not.toThrow()
    }),
  )
})

test('names its key in the header, and that name is made from the key', () => {
  const bytes = randomKeyBytes()
  const key = envelopeKey(bytes, 9)
  const sealed = sealEnvelope(key, place, Buffer.alloc(0))
  expect(parseHeader(sealed)).toEqual({ kind: 'secret', keyVersion: 9, keyId: key.id })
  expect(envelopeKey(randomBytes(32), 9).id).not.toEqual(key.id)
  expect(key.id.includes(bytes.subarray(0, 4))).toBe(false)
})

test('wipes a key, after which it opens nothing', () => {
  const key = envelopeKey(randomKeyBytes(), 1)
  const sealed = sealEnvelope(key, place, Buffer.from('secret'))
  wipeKey(key)
  expect(key.bytes.equals(Buffer.alloc(32))).toBe(true)
  expect(openEnvelope(key, place, sealed)).toBeUndefined()
})

function placeOf(vector: Vector): Place {
  const kind = vector.kind === 1 ? 'secret' : 'wrappedDek'
  const publicText = vector.public === undefined ? {} : { publicText: vector.public }
  const { tenant: of, path, place_version: version } = vector
  return { tenant: of, path, version, kind, ...publicText }
}

function plaintextOf(size: number): Buffer {
  return Buffer.from(Array.from({ length: size }, (_, index) => (31 * index + size) % 256))
}
