import { describe, expect, test } from 'vitest'
import {
  answerCall,
  type Broker,
  brokerOver,
  type Call,
  callShape,
} from '../../../src/bastion/wire/calls.ts'

const answering = (answer: unknown) => brokerOver(async () => answer)

describe('a call between a worker and the main process', () => {
  test('carries its method and arguments, and leaves an omitted argument out', async () => {
    const asked: Call[] = []
    const broker = brokerOver(async (call) => void asked.push(call))
    await broker.authorize('c1' as Parameters<Broker['authorize']>[0], 'shell')
    expect(asked).toEqual([{ method: 'authorize', args: ['c1', 'shell'] }])
    expect(callShape.safeParse(asked[0]).success).toBe(true)
  })

  test.each<[string, unknown]>([
    ['an unknown method', { method: 'constructor', args: ['c1'] }],
    ['a method of every object', { method: 'toString', args: [] }],
    ['too few arguments', { method: 'login', args: ['c1'] }],
    ['too many arguments', { method: 'choices', args: ['c1', 'c2'] }],
    ['an argument of another type', { method: 'choices', args: [1] }],
    ['a field that the table does not name', { method: 'choices', args: ['c1'], more: 1 }],
    ['a target name with a space', { method: 'authorize', args: ['c1', 'shell', 'we b'] }],
  ])('is refused with %s', (_, call) => {
    expect(callShape.safeParse(call).success).toBe(false)
  })

  test('attack: an answer carries no field that the table does not name', async () => {
    const lease = { id: 'l1', publicKey: Buffer.from('p'), privateKey: 'secret' }
    const call = { method: 'leaseKey', args: ['c1', 'a1', 's1'] } as unknown as Call
    expect(await answerCall(answering(lease), call)).toEqual({
      id: 'l1',
      publicKey: Buffer.from('p'),
    })
  })

  test('fails when the answer does not have its shape', async () => {
    const call = { method: 'sign', args: [] } as unknown as Call
    await expect(answerCall(answering('not bytes'), call)).rejects.toThrow()
  })
})
