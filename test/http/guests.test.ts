import { expect, test } from 'vitest'
import { Guests } from '../../src/http/guests.ts'

const nobodyIsExempt = () => false

test('attack: a person who shows a cookie from many addresses waits as one, and few of them are known', () => {
  const guests = new Guests(nobodyIsExempt)
  for (let at = 0; at < 300; at++) guests.know(`10.0.${at}.1`, { tenant: 'acme', user: 'mallory' })
  const owners = Array.from({ length: 300 }, (_, at) => guests.ownerAt(`10.0.${at}.1`))
  expect(owners.filter(([kind]) => kind === 'guests')).toHaveLength(32)
  expect(new Set(owners.slice(-32).map(String))).toEqual(new Set(['guests,acme,mallory']))
})

test('attack: no person makes the addresses of others forgotten', () => {
  const guests = new Guests(nobodyIsExempt)
  guests.know('192.0.2.1', { tenant: 'globex', user: 'alice' })
  for (let at = 0; at < 5000; at++) {
    guests.know(`10.${at >> 8}.${at & 255}.1`, { tenant: 'acme', user: 'mallory' })
  }
  expect(guests.ownerAt('192.0.2.1')).toEqual(['guests', 'globex', 'alice'])
  expect(guests.ownerAt('192.0.2.2')[0]).toBe('strangers')
})

test('an address is the last person’s who was recognized there, and is forgotten in the end', () => {
  const guests = new Guests((address) => address === '198.51.100.1')
  guests.know('192.0.2.1', { tenant: 'acme', user: 'alice' })
  guests.know('192.0.2.1', { tenant: 'acme', user: 'bob' })
  expect(guests.ownerAt('192.0.2.1')).toEqual(['guests', 'acme', 'bob'])
  expect(guests.ownerAt('198.51.100.1')[0]).toBe('guests')
  for (let at = 0; at < 4096; at++) {
    guests.know(`10.${at >> 8}.${at & 255}.1`, { tenant: 'acme', user: `user-${at}` })
  }
  expect(guests.ownerAt('192.0.2.1')[0]).toBe('strangers')
})

test('attack: the look-ups of one tenant do not stand before those of another', () => {
  const guests = new Guests((address) => address === '198.51.100.1')
  guests.know('192.0.2.1', { tenant: 'acme', user: 'alice' })
  guests.know('192.0.2.2', { tenant: 'globex', user: 'bob' })
  const owners = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '198.51.100.1'].map(
    (address) => guests.lookUpOwnerAt(address).tenant,
  )
  expect(new Set(owners).size).toBe(4)
})
