import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { duplexPair } from 'node:stream'
import { afterEach, expect, test } from 'vitest'
import type { Connection } from '../../../src/ssh/index.ts'
import { connectOn, serveOn } from '../../support/ssh-pair.ts'

const open: { destroy(): unknown }[] = []
afterEach(() => {
  for (const each of open.splice(0)) each.destroy()
})

/** Our client and our server, over TCP. */
async function pair() {
  const listener = createServer()
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const accepted = once(listener, 'connection') as Promise<[Socket]>
  const socket = connect((listener.address() as AddressInfo).port, '127.0.0.1')
  const [wire] = await accepted
  listener.close()
  for (const each of [socket, wire]) each.on('error', () => {})
  const served: Promise<Connection> = serveOn(wire)
  const client = await connectOn(socket)
  const server = await served
  open.push(socket, wire)
  return { client, server }
}

test('attack: a global request that would fill the memory while it waits is refused by itself', async () => {
  const { client, server } = await pair()
  const lengths: number[] = []
  server.onGlobalRequest = (request) => {
    lengths.push(request.payload.length)
    request.reply(true)
  }
  const ask = (bytes: number) => client.globalRequest('tcpip-forward', Buffer.alloc(bytes), true)
  expect(await ask(65_537)).toBe(false)
  expect(await ask(65_536)).not.toBe(false)
  expect(lengths).toEqual([65_536])
})

test('attack: a channel open that would fill the memory while it waits is refused by itself', async () => {
  const { client, server } = await pair()
  const lengths: number[] = []
  server.onChannelOpen = (asked) => {
    lengths.push(asked.payload.length)
    asked.accept()
  }
  const ask = (bytes: number) => client.openChannel('direct-tcpip', Buffer.alloc(bytes))
  await expect(ask(4097)).rejects.toMatchObject({ reason: 2 })
  await ask(4096)
  expect(lengths).toEqual([4096])
})

test('the address of the other side is read once: a socket that was reset has none any longer', async () => {
  const [ours, theirs] = duplexPair()
  Object.defineProperty(ours, 'remoteAddress', { value: '192.0.2.7', configurable: true })
  const served = serveOn(theirs)
  const client = await connectOn(ours)
  await served
  open.push(ours, theirs)
  Object.defineProperty(ours, 'remoteAddress', { value: undefined })
  expect(client.peerAddress).toBe('192.0.2.7')
})
