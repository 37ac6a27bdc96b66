import { expect, test } from 'vitest'
import { Turns } from '../../../src/bastion/wire/turns.ts'

test('lets so many through at a time, in the order in which they came', async () => {
  const turns = new Turns(1)
  const order: number[] = []
  const take = async (number: number) => {
    using _turn = await turns.take()
    order.push(number)
    await Promise.resolve()
  }
  await Promise.all([1, 2, 3].map(take))
  expect(order).toEqual([1, 2, 3])
})

test('attack: whoever wants a thousand turns holds up everybody else', async () => {
  const turns = new Turns(1)
  const [greedy, honest] = [{}, {}]
  const order: string[] = []
  const take = async (owner: object, name: string) => {
    using _turn = await turns.take(owner)
    order.push(name)
    await Promise.resolve()
  }
  const all = Array.from({ length: 1000 }, () => take(greedy, 'greedy'))
  await Promise.all([...all, take(honest, 'honest'), take(honest, 'honest')])
  expect(order).toHaveLength(1002)
  expect(order.lastIndexOf('honest')).toBeLessThan(6)
})
