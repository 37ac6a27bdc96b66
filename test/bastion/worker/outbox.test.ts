import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import type { ConnectionId } from '../../../src/bastion/wire/calls.ts'
import { MessagePipe } from '../../../src/bastion/wire/message-pipe.ts'
import type { FromWorker } from '../../../src/bastion/wire/messages.ts'
import { Outbox } from '../../../src/bastion/worker/outbox.ts'
import { eventually } from '../../support/installation.ts'

/** A worker's end, and a main process that does not read until it is told to. */
async function open() {
  const accepted = Promise.withResolvers<Socket>()
  const server = createServer({ pauseOnConnect: true }, accepted.resolve).listen(0, '127.0.0.1')
  await new Promise((done) => server.once('listening', done))
  const own = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const far = await accepted.promise
  const ignored = { received: () => {}, failed: () => {}, ended: () => {} }
  const outbox = new Outbox(new MessagePipe({ from: own, to: own }, ignored))
  const read: FromWorker[] = []
  onTestFinished(() => {
    own.destroy()
    far.destroy()
    server.close()
  })
  return {
    outbox,
    read,
    readOn() {
      new MessagePipe(
        { from: far, to: far },
        { ...ignored, received: (said) => void read.push(said as FromWorker) },
      )
      far.resume()
    },
  }
}

test('attack: messages that a user fills the pipe with do not hold up the answer to a ping', async () => {
  const { outbox, read, readOn } = await open()
  const count = 40_000
  let sent = 0
  for (let at = 0; at < count; at++) {
    // As long as a request for a file is on its way.
    const connection = String(at).padStart(400, 'x') as ConnectionId
    outbox.send({ type: 'closed', connection }, () => void sent++)
  }
  outbox.sendFirst({ type: 'pong', id: 7 })
  readOn()
  await eventually(() => read.length === count + 1 || undefined, 'all messages')
  const before = read.findIndex(({ type }) => type === 'pong')
  // What the system holds, and little more.
  expect(before).toBeLessThan(count * 0.75)
  read.splice(before, 1)
  const isInOrder = read.every(
    (said, at) => 'connection' in said && said.connection.endsWith(`x${at}`),
  )
  expect([isInOrder, sent]).toEqual([true, count])
})
