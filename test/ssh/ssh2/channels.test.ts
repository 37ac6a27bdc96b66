import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Writer } from '../../../src/ssh/index.ts'
import { msg } from '../../support/ssh-attacker.ts'
import {
  channelData,
  channelMsg,
  channelRequest,
  forChannel,
  openChannel,
  openChannelLab,
} from '../../support/ssh-lab.ts'

const protocolError = 2

async function openOne(window?: number, packetMax?: number) {
  const lab = await openChannelLab()
  lab.attacker.send(openChannel(7, window, packetMax))
  await lab.attacker.first(channelMsg.confirmation)
  return { ...lab, channel: lab.channels[0] }
}

test('keeps what came before anybody listened, in order: an end of input too (F7)', async () => {
  const { attacker, channel, listen, told } = await openOne()
  attacker.send(
    channelRequest(0, 'exec', true),
    channelData(0, 'early'),
    forChannel(channelMsg.eof, 0),
  )
  await sleep(50)
  expect(told).toEqual([])
  listen(channel)
  expect(told).toEqual([['request', 'exec'], ['data', 'early'], ['eof']])
})

test('attack: single bytes that come before anybody listens are joined, in their order', async () => {
  const { attacker, channel, listen, told } = await openOne()
  const error = new Writer().u8(channelMsg.extendedData).u32(0).u32(1).text('e').build()
  const bytes = Array(1000).fill(channelData(0, 'o'))
  attacker.send(...bytes, error, ...bytes, channelRequest(0, 'exit-status', true), ...bytes)
  attacker.send(new Writer().u8(msg.globalRequest).text('heard').boolean(true).build())
  // A refusal: all of it was read.
  await attacker.first(82)
  listen(channel)
  expect(told).toEqual([
    ['data', 'o'.repeat(1000)],
    ['extended', '1:e'],
    ['data', 'o'.repeat(1000)],
    ['request', 'exit-status'],
    ['data', 'o'.repeat(1000)],
  ])
})

test.each([
  ['long requests', Array(3).fill(channelRequest(0, 'x', false, Buffer.alloc(30_000)))],
  ['many requests', Array(200).fill(channelRequest(0, 'x', false))],
  [
    'changes between its streams',
    Array(8_500)
      .fill([
        channelData(0, 'o'),
        new Writer().u8(channelMsg.extendedData).u32(0).u32(1).text('e').build(),
      ])
      .flat(),
  ],
])('attack: %s before anybody listens end the connection', async (_what, messages) => {
  const { attacker } = await openOne()
  attacker.send(...messages)
  expect(await attacker.disconnectReason()).toBe(protocolError)
})

test('attack: a channel whose packets may hold nothing is refused at once (F5)', async () => {
  const { attacker, channels } = await openChannelLab()
  attacker.send(openChannel(7, 2 ** 21, 0), openChannel(8, 2 ** 21, 1))
  await attacker.until(() =>
    attacker.received.filter(([type]) => type === channelMsg.failure).length === 2
      ? true
      : undefined,
  )
  expect(channels).toEqual([])
})

test('attack: more data than the window ends the connection, and is never held (F6)', async () => {
  const { attacker, connection, channel, told, listen } = await openOne()
  const chunk = Buffer.alloc(32_768)
  for (let sent = 0; sent <= 2 ** 21; sent += chunk.length) attacker.send(channelData(0, chunk))
  expect(await attacker.disconnectReason()).toBe(protocolError)
  expect((await connection.done).error).toMatchObject({ code: 'ERR_SSH_PROTOCOL' })
  listen(channel)
  expect(told.filter(([what]) => what === 'data').length).toBe(2 ** 21 / chunk.length)
  expect(told.at(-1)).toEqual(['close'])
})

test('opens the window by what was consumed, and by nothing else', async () => {
  const { attacker, channel, listen } = await openOne()
  listen(channel)
  attacker.send(channelData(0, Buffer.alloc(30_000)), channelData(0, Buffer.alloc(30_000)))
  await sleep(50)
  expect(attacker.received.some(([type]) => type === channelMsg.adjust)).toBe(false)
  channel?.consumed(2 ** 20)
  expect((await attacker.first(channelMsg.adjust)).readUInt32BE(5)).toBe(2 ** 20)
})

test('sends no byte beyond the window of the other side, and goes on when it grows', async () => {
  const { attacker, channel } = await openOne(10)
  let sent = 0
  channel?.write(Buffer.from('0123456789ABCDEF'), (bytes) => (sent += bytes))
  void channel?.request('exit-status', Buffer.of(0, 0, 0, 5), false)
  channel?.eof()
  channel?.close()
  const data = await attacker.first(channelMsg.data)
  expect(data.subarray(9).toString()).toBe('0123456789')
  await sleep(50)
  expect(sent).toBe(10)
  // Exit status, end and close wait for the last byte.
  expect(attacker.received.some(([type]) => type === channelMsg.request)).toBe(false)
  attacker.send(forChannel(channelMsg.adjust, 0, 100))
  await attacker.first(channelMsg.close)
  expect(sent).toBe(16)
  const numbers = attacker.received
    .map(([type]) => type)
    .filter((type = 0) => type >= channelMsg.data)
  const { data: d, request, eof, close } = channelMsg
  expect(numbers).toEqual([d, d, request, eof, close])
})

test('attack: a window grown beyond 2^32 ends the connection', async () => {
  const { attacker } = await openOne(0xffff_ffff)
  attacker.send(forChannel(channelMsg.adjust, 0, 1))
  expect(await attacker.disconnectReason()).toBe(protocolError)
})

const malformed: readonly [string, Buffer][] = [
  ['data for a channel that is not open', channelData(99, 'x')],
  ['data cut off', channelData(0, 'xxxx').subarray(0, 11)],
  [
    'a string longer than its packet',
    Buffer.concat([forChannel(channelMsg.data, 0), Buffer.alloc(4, 0xff)]),
  ],
  ['an unknown channel message', forChannel(127, 0)],
  ['a confirmation that nobody asked for', forChannel(channelMsg.confirmation, 0, 1, 1, 1)],
  ['a refusal that nobody asked for', forChannel(channelMsg.failure, 0, 1)],
  ['an open without its terms', Buffer.from([channelMsg.open, 0, 0, 0, 1, 0x73])],
  ['a global request without a name', Buffer.from([msg.globalRequest])],
]

test.each(malformed)('attack: %s ends the connection and nothing else', async (_name, payload) => {
  const { attacker, connection, channel, listen, told } = await openOne()
  listen(channel)
  attacker.send(payload)
  expect(await attacker.disconnectReason()).toBe(protocolError)
  expect((await connection.done).error).toBeDefined()
  expect(told).toEqual([['close']])
})

test('attack: requests without end, none of them answered yet', async () => {
  const { attacker, channel, listen } = await openOne()
  listen(channel)
  attacker.send(...Array.from({ length: 200 }, () => channelRequest(0, 'env', true)))
  expect(await attacker.disconnectReason()).toBe(protocolError)
})

test('attack: requests without end before anybody listens', async () => {
  const { attacker } = await openOne()
  attacker.send(...Array.from({ length: 200 }, () => channelRequest(0, 'env', false)))
  expect(await attacker.disconnectReason()).toBe(protocolError)
})

test('replies in the order of the requests, whenever they are answered', async () => {
  const { attacker, channel, listen, requests } = await openOne()
  listen(channel)
  attacker.send(channelRequest(0, 'one', true), channelRequest(0, 'two', true))
  while (requests.length < 2) await sleep(5)
  requests[1]?.reply(true)
  await sleep(30)
  expect(attacker.received.some(([type]) => type === channelMsg.success)).toBe(false)
  requests[0]?.reply(false)
  await attacker.first(channelMsg.success)
  const answers = attacker.received
    .map(([type]) => type)
    .filter((type = 0) => type >= channelMsg.success)
  expect(answers).toEqual([channelMsg.refused, channelMsg.success])
})

test('opens no more channels than allowed, and again once one has closed', async () => {
  const { attacker, channels } = await openChannelLab({ channelsMax: 2 })
  attacker.send(openChannel(1), openChannel(2), openChannel(3))
  const refusal = await attacker.first(channelMsg.failure)
  expect([refusal.readUInt32BE(1), refusal.readUInt32BE(5)]).toEqual([3, 4])
  attacker.send(forChannel(channelMsg.close, 0))
  await attacker.first(channelMsg.close)
  attacker.send(openChannel(4))
  await attacker.until(() =>
    attacker.received.filter(([type]) => type === channelMsg.confirmation).length === 3
      ? true
      : undefined,
  )
  expect(channels.length).toBe(3)
})

test('a close from the other side drops what waits, and is told once', async () => {
  const { attacker, channel, listen, told, connection } = await openOne(0)
  listen(channel)
  let sent = 0
  channel?.write(Buffer.alloc(1000), () => sent++)
  const answer = channel?.request('signal', Buffer.alloc(0), true)
  attacker.send(forChannel(channelMsg.close, 0))
  await attacker.first(channelMsg.close)
  expect([sent, await answer]).toEqual([1, false])
  connection.destroy()
  await connection.done
  expect(told).toEqual([['close']])
})

test('attack: who takes nothing and goes on asking is cut off', async () => {
  const { attacker, connection, wire } = await openOne()
  // The attacker's end stops reading; replies pile up on ours.
  connection.onGlobalRequest = (request) => request.reply(true, Buffer.alloc(30_000))
  attacker.stop()
  const request = Buffer.concat([Buffer.from([msg.globalRequest, 0, 0, 0, 1, 0x78, 1])])
  for (let count = 0; count < 2000 && !wire.destroyed; count++) {
    attacker.send(request)
    if (count % 50 === 0) await sleep(1)
  }
  expect((await connection.done).error).toMatchObject({ code: 'ERR_SSH_PROTOCOL' })
  expect(wire.destroyed).toBe(true)
})

test('attack: a channel before the login', async () => {
  const { Attacker } = await import('../../support/ssh-attacker.ts')
  const { openUnauthenticated } = await import('../../support/ssh-lab.ts')
  const { wire, ready } = openUnauthenticated()
  const attacker = new Attacker(wire)
  await attacker.handshakeForLogin()
  attacker.send(openChannel(1))
  expect(await attacker.disconnectReason()).toBe(protocolError)
  expect(ready()).toBe(false)
})
