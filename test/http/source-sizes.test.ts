import { expect, test } from 'vitest'
import { SourceSizes } from '../../src/http/source-sizes.ts'

test('attack: whoever has most connections is known at any time, by networks where addresses have equally many', () => {
  const sizes = new SourceSizes()
  const has = new Map<string, number>()
  const change = (source: string, by: number) => {
    const before = has.get(source) ?? 0
    has.set(source, before + by)
    sizes.change(source, before, before + by)
  }
  for (const source of ['10.0.0.1', '10.0.0.2', '192.0.2.1', '2001:db8:1:1::/64']) change(source, 1)
  expect([sizes.most, sizes.largest()]).toEqual([1, ['10.0.0.1', '10.0.0.2']])
  change('192.0.2.1', 1)
  expect([sizes.most, sizes.largest()]).toEqual([2, ['192.0.2.1']])
  for (const source of ['2001:db8:1:1::/64', '2001:db8:1:2::/64', '2001:db8:1:2::/64'])
    change(source, 1)
  expect(sizes.largest()).toEqual(['2001:db8:1:1::/64', '2001:db8:1:2::/64'])
  for (const [source, count] of has) for (let left = count; left > 0; left--) change(source, -1)
  expect([sizes.most, sizes.largest()]).toEqual([0, []])
})
