import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { envelopeKey } from '../../src/vault/envelope.ts'
import {
  isTagOf,
  keyVersionOf,
  makeTag,
  type TaggedRecord,
  tagKey,
} from '../../src/vault/record-tag.ts'
import vectors from '../vectors/bvt1-tags.json' with { type: 'json' }

const record: TaggedRecord = {
  kind: 'target',
  id: 'a',
  fields: [
    ['host', '192.0.2.7'],
    ['port', '22'],
  ],
}

test.each(vectors.cases)('makes the tag of the vector of a $kind, byte for byte', (vector) => {
  const { kek, version, tenant, kind, id, fields, tag } = vector
  const key = tagKey(envelopeKey(Buffer.from(kek, 'hex'), version))
  const of = { kind, id, fields } as unknown as TaggedRecord
  expect(makeTag(key, version, tenant, of).toString('hex')).toBe(tag)
  expect(isTagOf(Buffer.from(tag, 'hex'), key, version, tenant, of)).toBe(true)
  expect(keyVersionOf(Buffer.from(tag, 'hex'))).toBe(version)
})

test('attack: fits no other row, tenant, key or version of the key', () => {
  const key = randomBytes(32)
  const tag = makeTag(key, 1, 'acme', record)
  const others: TaggedRecord[] = [
    { ...record, kind: 'user-key' },
    { ...record, id: 'b' },
    { ...record, fields: [['host', '192.0.2.7']] },
    { ...record, fields: [...record.fields, ['logins', '0']] },
    {
      ...record,
      fields: [
        ['host', '192.0.2.72'],
        ['port', '2'],
      ],
    },
    {
      ...record,
      fields: [
        ['port', '22'],
        ['host', '192.0.2.7'],
      ],
    },
    {
      ...record,
      id: 'ahost',
      fields: [
        ['192.0.2.7', 'port'],
        ['22', ''],
      ],
    },
  ]
  expect(isTagOf(tag, key, 1, 'acme', record)).toBe(true)
  for (const other of others) expect(isTagOf(tag, key, 1, 'acme', other)).toBe(false)
  expect(isTagOf(tag, key, 1, 'globex', record)).toBe(false)
  expect(isTagOf(tag, key, 2, 'acme', record)).toBe(false)
  expect(isTagOf(tag, randomBytes(32), 1, 'acme', record)).toBe(false)
  for (let at = 0; at < tag.length; at++) {
    const changed = Buffer.from(tag)
    changed[at] = (changed[at] ?? 0) ^ 1
    expect(isTagOf(changed, key, 1, 'acme', record), `byte ${at}`).toBe(false)
  }
  for (const length of [0, 8, 39, 41]) {
    expect(isTagOf(Buffer.alloc(length), key, 1, 'acme', record)).toBe(false)
    expect(keyVersionOf(Buffer.alloc(length))).toBeUndefined()
  }
})
