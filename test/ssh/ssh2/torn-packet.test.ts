import { expect, test } from 'vitest'
import { ReadRoom } from '../../../src/ssh/ssh2/read-room.ts'
import { TornPacket, tornPackets } from '../../../src/ssh/ssh2/torn-packet.ts'
import { Writer } from '../../../src/ssh/wire.ts'
import { channelMsg, openChannel, openChannelLab } from '../../support/ssh-lab.ts'

test('attack: a large packet that does not come as a whole is counted until it has', async () => {
  const { attacker } = await openChannelLab()
  const write = attacker.write.bind(attacker)
  let packet = Buffer.alloc(0)
  attacker.write = (bytes) => {
    packet = Buffer.concat([packet, Buffer.from(bytes)])
  }
  attacker.send(new Writer().u8(2).string(Buffer.alloc(900_000)).build())
  attacker.write = write
  attacker.write(packet.subarray(0, 800_000))
  await expect.poll(() => tornPackets.size).toBe(1)
  attacker.write(packet.subarray(800_000))
  await expect.poll(() => tornPackets.size).toBe(0)
  attacker.send(openChannel(0))
  await attacker.first(channelMsg.confirmation)
})

test('attack: a user with many large packets that do not end loses a connection to another user', () => {
  const room = new ReadRoom(4, 60_000)
  const cut: string[] = []
  const torn = (user: string) =>
    new TornPacket(
      () => user,
      () => cut.push(user),
      room,
    )
  const all = Array.from({ length: 6 }, () => torn('mallory'))
  for (const one of all) one.keeps(2 ** 20)
  expect([room.size, cut]).toEqual([4, ['mallory', 'mallory']])
  const victim = torn('victor')
  // Usual packets cost nobody a place.
  victim.keeps(35_000)
  expect(cut).toHaveLength(2)
  victim.keeps(70_000)
  expect([room.size, cut]).toEqual([4, ['mallory', 'mallory', 'mallory']])
  victim.keeps(0)
  for (const one of all) one.end()
  expect(room.size).toBe(0)
})

test('attack: a large packet that does not go on for long ends its connection', async () => {
  let cut = 0
  const torn = new TornPacket(
    () => 'mallory',
    () => cut++,
    new ReadRoom(4, 20),
  )
  torn.keeps(2 ** 20)
  await expect.poll(() => cut).toBe(1)
})
