import { once } from 'node:events'
import { afterEach, expect, test, vi } from 'vitest'
import { Unsent, unsentOfAll } from '../../../src/ssh/ssh2/unsent.ts'
import { Waste } from '../../../src/ssh/ssh2/waste.ts'
import { Writer } from '../../../src/ssh/wire.ts'
import { AdoptedSockets } from '../../support/adopted-sockets.ts'
import { msg } from '../../support/ssh-attacker.ts'
import { openChannelLab } from '../../support/ssh-lab.ts'

const sockets = new AdoptedSockets()
afterEach(() => sockets[Symbol.dispose]())

/** More than the system takes of us for a side that reads nothing. */
const fullBytes = 16 * 2 ** 20

test('attack: where sockets hold too much in all, each holds little, and goes on when it is read', async () => {
  const { client, socket } = await sockets.open()
  client.pause()
  const of = new Waste(2 ** 20)
  const goOn = vi.fn()
  const unsent = new Unsent(socket, goOn, of)
  unsent.count()
  expect([of.bytes, unsent.isTooMuch]).toEqual([0, false])
  socket.write(Buffer.alloc(fullBytes))
  unsent.count()
  expect([of.bytes, unsent.isTooMuch]).toEqual([socket.writableLength, true])
  client.resume()
  await expect.poll(() => goOn.mock.calls.length).toBe(1)
  expect([of.bytes, unsent.isTooMuch]).toEqual([0, false])
})

test('what a socket held that has closed counts no longer', async () => {
  const { client, socket } = await sockets.open()
  client.pause()
  const of = new Waste(2 ** 20)
  const unsent = new Unsent(socket, () => {}, of)
  socket.write(Buffer.alloc(fullBytes))
  unsent.count()
  expect(of.bytes).toBeGreaterThan(2 ** 20)
  socket.on('error', () => {})
  socket.destroy()
  await once(socket, 'close')
  await expect.poll(() => of.bytes).toBe(0)
})

test('attack: small answers that nobody reads cost little more than their bytes', async () => {
  const { attacker, connection, wire } = await openChannelLab()
  // As a socket that is full: nothing of it leaves.
  vi.spyOn(wire, '_write').mockImplementation(() => {})
  if (wire._writev) vi.spyOn(wire, '_writev').mockImplementation(() => {})
  const ask = new Writer().u8(msg.globalRequest).text('keepalive@openssh.com').boolean(true).build()
  let isOver = false
  void connection.done.then(() => {
    isOver = true
  })
  let asked = 0
  for (; !isOver && asked < 40_000; asked += 100) {
    attacker.send(...Array(100).fill(ask))
    await new Promise((done) => setImmediate(done))
  }
  expect(asked).toBeLessThan(20_000)
  expect(unsentOfAll.bytes).toBe(0)
})
