import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fieldsOf, wordOf } from '../../src/cli/fields.ts'

test('attack: a value of an event does not look like a field of its own', () => {
  expect(fieldsOf({ command: 'x userName=root', userName: 'demo' })).toBe(
    'command="x userName=root" userName=demo',
  )
  const quoted = ['a=b', '', '"', 'x\u00a0user', '\\', 'a\tb', 'a\nb']
  for (const value of quoted) expect(wordOf(value)).toBe(JSON.stringify(value))
})

test('leaves plain words as they are, and each line can be read back', () => {
  for (const word of ['SHA256:abc+/_-', 'web1', '/etc/motd', '10.0.0.1'])
    expect(wordOf(word)).toBe(word)
  const dictionary = fc.dictionary(fc.stringMatching(/^[a-z]{1,5}$/), fc.string({ unit: 'binary' }))
  fc.assert(
    fc.property(dictionary, (values) => {
      const fields = fieldsOf(values).matchAll(/([a-z]+)=("(?:[^"\\]|\\.)*"|[^\s="]+)(?: |$)/g)
      const read = [...fields].map(([, key, word = '']) => [
        key,
        word.startsWith('"') ? JSON.parse(word) : word,
      ])
      expect(read).toEqual(Object.entries(values))
    }),
  )
})
