import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Shares } from '../src/shares.ts'

test('takes from the owner with the most, the oldest first', () => {
  const shares = new Shares<number>()
  for (let key = 0; key < 5; key += 1) shares.add('hostile', key)
  shares.add('polite', 100)
  expect(shares.toMakeRoomFor('polite')).toEqual({ owner: 'hostile', key: 0 })
  expect(shares.toMakeRoomFor('new')).toEqual({ owner: 'hostile', key: 0 })
  shares.delete('hostile', 0)
  expect(shares.toMakeRoomFor('new')).toEqual({ owner: 'hostile', key: 1 })
})

test('refuses the owner with the most, and takes nothing from those who have as much', () => {
  const shares = new Shares<number>()
  for (let key = 0; key < 5; key += 1) shares.add('hostile', key)
  expect(shares.toMakeRoomFor('hostile')).toBeUndefined()
  for (let key = 10; key < 14; key += 1) shares.add('other', key)
  expect(shares.toMakeRoomFor('other')).toBeUndefined()
  expect(new Shares<number>().toMakeRoomFor('new')).toBeUndefined()
})

test('attack: however owners rush, one with a fair share keeps its own', () => {
  const ask = fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(2))
  fc.assert(
    fc.property(fc.array(ask, { maxLength: 200 }), (asks) => {
      const shares = new Shares<number>()
      shares.add('polite', -1)
      shares.add('polite', -2)
      for (const [at, [owner]] of asks.entries()) {
        if (shares.size >= 12) {
          const room = shares.toMakeRoomFor(owner)
          if (room === undefined) continue
          // A share of the twelve is three for each of four owners.
          expect(room.owner).not.toBe('polite')
          shares.delete(room.owner, room.key)
        }
        shares.add(owner, at)
      }
      expect(shares.size).toBeLessThanOrEqual(12)
    }),
  )
})
