import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { Attacker, msg } from '../../support/ssh-attacker.ts'
import {
  channelData,
  channelMsg,
  forChannel,
  openChannel,
  openChannelLab,
  openUnauthenticated,
} from '../../support/ssh-lab.ts'

/** Windows bound bytes. What a peer can make of few bytes, or of none, is bounded here. */
afterEach(() => vi.useRealTimers())

async function openClosed() {
  const lab = await openChannelLab()
  lab.attacker.send(openChannel(7, 0))
  await lab.attacker.first(channelMsg.confirmation)
  const channel = lab.channels[0]
  if (channel === undefined) throw new Error('no channel')
  lab.listen(channel)
  return { ...lab, channel }
}

test('attack: pieces without end for a side that never opens its window', async () => {
  const { channel, attacker, told } = await openClosed()
  let sent = 0
  const write = () => channel.write(Buffer.from('x'), () => sent++)
  for (let count = 0; count < 65_536; count++) write()
  expect([channel.closed, sent]).toEqual([false, 0])
  write()
  // Who lent the pieces gets all of them back, and the other side its CLOSE.
  expect(sent).toBe(65_537)
  await attacker.first(channelMsg.close)
  attacker.send(forChannel(channelMsg.close, 0))
  await vi.waitFor(() => expect(told).toEqual([['close']]), 30_000)
})

test('attack: requests that want no reply, behind data that nobody takes', async () => {
  const { channel, attacker } = await openClosed()
  channel.write(Buffer.from('x'), () => {})
  const answers = []
  for (let count = 0; count < 128; count++)
    answers.push(channel.request('signal', Buffer.alloc(8), false))
  await sleep(20)
  expect(attacker.received.some(([type]) => type === channelMsg.close)).toBe(false)
  answers.push(channel.request('signal', Buffer.alloc(8), false))
  await attacker.first(channelMsg.close)
  expect(new Set(await Promise.all(answers))).toEqual(new Set([false]))
})

test('attack: a few huge requests behind data that nobody takes', async () => {
  const { channel, attacker } = await openClosed()
  channel.write(Buffer.from('x'), () => {})
  for (let count = 0; count < 34; count++) void channel.request('a', Buffer.alloc(30_000), false)
  await sleep(20)
  expect(attacker.received.some(([type]) => type === channelMsg.close)).toBe(false)
  void channel.request('a', Buffer.alloc(30_000), false)
  await attacker.first(channelMsg.close)
})

test('of window sizes that wait, the last one is told, and no other', async () => {
  const { channel, attacker } = await openClosed()
  channel.write(Buffer.from('x'), () => {})
  for (let columns = 0; columns < 10_000; columns++) {
    void channel.request('window-change', Buffer.of(columns >> 8, columns & 255), false)
  }
  attacker.send(forChannel(channelMsg.adjust, 0, 100))
  await attacker.first(channelMsg.request)
  await sleep(20)
  const requests = attacker.received.filter(([type]) => type === channelMsg.request)
  expect(requests.map((payload) => payload.subarray(-2))).toEqual([Buffer.of(0x27, 0x0f)])
})

test('a close that crosses ours, which still waits behind data, is answered', async () => {
  const { channel, attacker, told } = await openClosed()
  channel.write(Buffer.from('x'), () => {})
  channel.close()
  await sleep(20)
  expect(attacker.received.some(([type]) => type === channelMsg.close)).toBe(false)
  attacker.send(forChannel(channelMsg.close, 0))
  await attacker.first(channelMsg.close)
  expect(told).toEqual([['close']])
})

test('an end for good does not wait for data that nobody takes', async () => {
  const { channel, attacker } = await openClosed()
  channel.write(Buffer.from('x'), () => {})
  channel.abort()
  await attacker.first(channelMsg.close)
})

test('attack: more early data than was asked for; what is given later may be used', async () => {
  const open = async () => {
    const lab = await openChannelLab()
    lab.connection.onChannelOpen = (wanted) => lab.channels.push(wanted.accept(1000))
    lab.attacker.send(openChannel(7))
    const confirmation = await lab.attacker.first(channelMsg.confirmation)
    expect(confirmation.readUInt32BE(9)).toBe(1000)
    return lab
  }
  const greedy = await open()
  greedy.attacker.send(channelData(0, Buffer.alloc(1001)))
  expect(await greedy.attacker.disconnectReason()).toBe(2)

  const patient = await open()
  patient.listen(patient.channels[0])
  patient.channels[0]?.widen(500)
  expect((await patient.attacker.first(channelMsg.adjust)).readUInt32BE(5)).toBe(500)
  patient.attacker.send(channelData(0, Buffer.alloc(1500)), forChannel(channelMsg.eof, 0))
  await vi.waitFor(() => expect(patient.told.at(-1)).toEqual(['eof']), 30_000)
})

test('nobody is asked whether they are still there before their login is done', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  const { wire } = openUnauthenticated()
  const stranger = new Attacker(wire)
  await stranger.handshakeForLogin()
  vi.advanceTimersByTime(130_000)
  await sleep(20)
  expect(stranger.received.some(([type]) => type === msg.globalRequest)).toBe(false)

  const { attacker } = await openChannelLab()
  vi.advanceTimersByTime(61_000)
  const asked = await attacker.until(() =>
    attacker.received.find((payload) => payload.includes('keepalive@openssh.com')),
  )
  expect(asked?.[0]).toBe(msg.globalRequest)
})
