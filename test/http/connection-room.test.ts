import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { ConnectionRoom } from '../../src/http/connection-room.ts'

const connectionsMax = 24

/** A connection from any address: this machine has no IPv6 networks to connect from. */
function connectionFrom(remoteAddress: string): Socket {
  return Object.defineProperty(new Socket(), 'remoteAddress', { value: remoteAddress })
}

/** One more connection, with a request that is being answered. */
async function hold(room: ConnectionRoom, from: string): Promise<Socket> {
  const socket = connectionFrom(from)
  room.enter(socket)
  const answer = new ServerResponse(new IncomingMessage(socket))
  if (await room.ask(socket, answer)) room.answer(socket, answer)
  return socket
}

test('attack: all the addresses of one IPv6 network keep out and cut off nobody elsewhere', async () => {
  const room = new ConnectionRoom(connectionsMax)
  const flood = async (from: number, to: number) => {
    for (let count = from; count < to; count++) await hold(room, `2001:db8:1:${count}::1`)
  }
  await flood(1, connectionsMax)
  const honest = [await hold(room, '2001:db8:2:1::1'), await hold(room, '192.0.2.1')]
  await flood(connectionsMax, connectionsMax * 3)
  const late = await hold(room, '192.0.2.2')
  await flood(connectionsMax * 3, connectionsMax * 5)
  expect([...honest, late].map(({ destroyed }) => destroyed)).toEqual([false, false, false])
})

test('attack: newcomers of a network take the places of its own waiting connections, not those of a browser', () => {
  const room = new ConnectionRoom(connectionsMax)
  const browser = connectionFrom('192.0.2.1')
  room.enter(browser)
  const sockets = Array.from({ length: connectionsMax * 5 }, (_, count) =>
    connectionFrom(`2001:db8:1:${count + 1}::1`),
  )
  for (const socket of sockets) room.enter(socket)
  expect(browser.destroyed).toBe(false)
  expect(sockets.filter(({ destroyed }) => !destroyed)).toHaveLength(connectionsMax - 1)
})
