import { expect, test, vi } from 'vitest'
import { ChannelStream } from '../../../src/bastion/worker/channel-stream.ts'
import {
  channelData,
  channelMsg,
  channelRequest,
  forChannel,
  openChannel,
  openChannelLab,
} from '../../support/ssh-lab.ts'

async function openStream() {
  const lab = await openChannelLab()
  lab.attacker.send(openChannel(7))
  await lab.attacker.first(channelMsg.confirmation)
  const [channel] = lab.channels
  if (channel === undefined) throw new Error('no channel')
  const stream = new ChannelStream(channel)
  // A reply says that all before it was read.
  const heard = async () => {
    const since = lab.attacker.received.length
    lab.attacker.send(channelRequest(0, 'heard', true))
    await lab.attacker.first(channelMsg.refused, since)
  }
  return { ...lab, stream, heard }
}

test('attack: single bytes that a stream’s reader does not take are joined', async () => {
  const { attacker, stream, heard } = await openStream()
  let taken = ''
  stream.on('data', (chunk: Buffer) => {
    taken += chunk.toString('latin1')
  })
  attacker.send(channelData(0, 'first'))
  await heard()
  expect(taken).toBe('first')
  stream.pause()
  const total = 3000
  attacker.send(...Array(total).fill(channelData(0, '.')))
  await heard()
  // The stream itself would keep each of them in a buffer of its own.
  expect(stream.readableLength).toBe(1)
  const large = Buffer.alloc(30_000, 'x')
  attacker.send(channelData(0, large), channelData(0, '!'), forChannel(channelMsg.eof, 0))
  await heard()
  const ended = vi.fn()
  stream.on('end', ended)
  stream.resume()
  await vi.waitFor(() => expect(ended).toHaveBeenCalledOnce(), 30_000)
  expect(taken).toBe(`first${'.'.repeat(total)}${large.toString()}!`)
})

test('gives the window back as its reader takes the bytes, and not before', async () => {
  const { attacker, stream, heard } = await openStream()
  const isAdjusted = () => attacker.received.some(([type]) => type === channelMsg.adjust)
  for (let sent = 0; sent < 2 ** 21; sent += 32_768) {
    attacker.send(channelData(0, Buffer.alloc(32_768)))
  }
  await heard()
  expect(isAdjusted()).toBe(false)
  let bytes = 0
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  await vi.waitFor(() => expect(bytes).toBe(2 ** 21), 30_000)
  await vi.waitFor(() => expect(isAdjusted()).toBe(true), 30_000)
})
