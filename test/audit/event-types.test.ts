import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { commonKeys, eventTypes } from '../../src/audit/event-types.ts'

const text = readFileSync('docs/formats/audit.md', 'utf8')
const between = (from: string, to: string) => text.slice(text.indexOf(from), text.indexOf(to))
const rows = between('## Events', '## Files')
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => line.split('|').slice(1, -1))
const named = (cell: string) => [...cell.matchAll(/`(\w+)`/g)].map(([, key]) => key)

test.each(Object.entries(eventTypes).filter(([type]) => type !== 'file.operation'))(
  'the format document gives the keys of %s in the part that they are in',
  (type, { public: shown, private: hidden }) => {
    const found = rows.filter(([types]) => types?.includes(`\`${type}\``))
    expect(found).toHaveLength(1)
    const [, , publicKeys = '', privateKeys = ''] = found[0] ?? []
    expect(named(publicKeys)).toEqual(expect.arrayContaining([...shown]))
    expect(named(privateKeys)).toEqual(expect.arrayContaining([...hidden]))
  },
)

test('the format document gives no keys but those of the table', () => {
  for (const [types = '', , publicKeys = '', privateKeys = ''] of rows) {
    const keys = Object.entries(eventTypes).filter(([type]) => types.includes(`\`${type}\``))
    expect(keys.flatMap(([, { public: shown }]) => shown)).toEqual(
      expect.arrayContaining(named(publicKeys)),
    )
    expect(keys.flatMap(([, { private: hidden }]) => hidden)).toEqual(
      expect.arrayContaining(named(privateKeys)),
    )
  }
})

test('the format document gives the keys of file.operation, and those of every event', () => {
  const files = named(between('## Files', '## Checkpoint'))
  const { public: shown, private: hidden } = eventTypes['file.operation']
  expect(files).toEqual(expect.arrayContaining([...shown, ...hidden]))
  const common = named(between('## Events', '| type |'))
  expect(common).toEqual(expect.arrayContaining([...commonKeys.public, ...commonKeys.private]))
})
