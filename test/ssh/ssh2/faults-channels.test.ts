import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { Attacker, authRequest, msg } from '../../support/ssh-attacker.ts'
import {
  channelData,
  channelMsg,
  channelRequest,
  forChannel,
  openChannel,
} from '../../support/ssh-lab.ts'
import { loadSsh2, openLab, type ServerSide } from '../../support/ssh2-library.ts'
import { makeStockSsh2 } from '../../support/ssh2-stock.ts'

/**
 * The controls of channels.test.ts: what the channel layer of a stock ssh2 does under the same
 * messages. Each of these is why it is not the one that we use.
 */
const stock = makeStockSsh2()
afterAll(() => stock.remove())

type Accept = () => Readable & Writable & { readonly stderr: Writable }

interface StockSession {
  on(event: 'exec', listener: (accept: Accept) => void): void
}

interface StockClient {
  on(event: 'session', listener: (accept: () => StockSession) => void): void
}

/** A stock server on which the attacker has logged in and opened a channel. */
async function openStock(onExec: (accept: Accept) => void): Promise<Attacker> {
  const { attacker } = openLab(
    loadSsh2(stock.path),
    (request) => request.accept(),
    (client: ServerSide) => {
      const face: unknown = client
      ;(face as StockClient).on('session', (accept) => accept().on('exec', onExec))
    },
  )
  await attacker.handshakeForLogin()
  attacker.send(authRequest('bob', 'none'))
  await attacker.first(msg.authSuccess)
  attacker.send(openChannel(7))
  await attacker.first(channelMsg.confirmation)
  return attacker
}

const exec = channelRequest(0, 'exec', true, Buffer.from([0, 0, 0, 1, 0x78]))

test('control: stock ssh2 loses what comes before a late accept (F7)', async () => {
  let got = ''
  const attacker = await openStock((accept) =>
    setTimeout(() => accept().on('data', (chunk: Buffer) => (got += chunk.toString())), 30),
  )
  attacker.send(exec, channelData(0, 'early'))
  await attacker.first(channelMsg.success)
  attacker.send(channelData(0, 'late'))
  while (got === '') await sleep(5)
  expect(got).toBe('late')
})

test('control: stock ssh2 holds more than it gave a window for (F6)', async () => {
  let held = () => 0
  const attacker = await openStock((accept) => {
    const channel = accept()
    held = () => channel.readableLength
  })
  attacker.send(exec)
  await attacker.first(channelMsg.success)
  const chunk = Buffer.alloc(30_000)
  for (let sent = 0; sent < 8_000_000; sent += chunk.length) attacker.send(channelData(0, chunk))
  await expect.poll(() => held()).toBeGreaterThan(2 ** 21 + chunk.length)
  expect(attacker.received.some(([type]) => type === msg.disconnect)).toBe(false)
})

test('control: stock ssh2 mixes stdout with stderr once both wait for a window (F3)', async () => {
  const attacker = await openStock((accept) => {
    const channel = accept()
    channel.write(Buffer.alloc(3_000_000, 'o'))
    channel.stderr.write(Buffer.alloc(3_000_000, 'e'))
  })
  attacker.send(exec)
  await attacker.first(channelMsg.success)
  const bytes = (type: number, offset: number) =>
    attacker.received
      .filter(([first]) => first === type)
      .reduce((sum, payload) => sum + payload.length - offset, 0)
  // More window than both need, as far as the client can tell.
  for (let turn = 0; turn < 20; turn++) {
    attacker.send(forChannel(channelMsg.adjust, 0, 1_000_000))
    await sleep(20)
  }
  const [out, err] = [bytes(channelMsg.data, 9), bytes(channelMsg.extendedData, 13)]
  expect([out, err]).not.toEqual([3_000_000, 3_000_000])
})

const victim = `
const { Server } = require(process.argv[1])
const { generateKeyPairSync } = require(process.argv[1]).utils
const hostKeys = [generateKeyPairSync('ecdsa', { bits: 256 }).private]
const server = new Server({ hostKeys }, (client) => {
  client.on('error', () => {})
  client.on('authentication', (request) => request.accept())
  client.on('session', (accept) => accept().on('exec', (accept) => accept().write('x')))
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
`

test('control: stock ssh2 loops for ever on packets that may hold nothing (F5)', async () => {
  const child = spawn(process.execPath, ['-e', victim, stock.path], {
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: 80_000,
    killSignal: 'SIGKILL',
  })
  const exited = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const [port] = await once(createInterface(child.stdout), 'line')
  const socket = connect(Number(port), '127.0.0.1')
  const attacker = new Attacker(socket)
  attacker.sendIdent()
  const init = attacker.sendKexInit({ hostKeys: ['ecdsa-sha2-nistp256'] })
  await attacker.finishHandshake(init, attacker.sendKexInitiate())
  attacker.send(
    Buffer.concat([Buffer.from([msg.serviceRequest, 0, 0, 0, 12]), Buffer.from('ssh-userauth')]),
  )
  await attacker.first(msg.serviceAccept)
  attacker.send(authRequest('bob', 'none'))
  await attacker.first(msg.authSuccess)
  attacker.send(openChannel(7, 2 ** 21, 0))
  await attacker.first(channelMsg.confirmation)
  attacker.send(exec)
  // Strangers get no ident any more.
  const isAnswered = async () => {
    const stranger = connect(Number(port), '127.0.0.1')
    const came = once(stranger, 'data').then(() => true)
    const answered = await Promise.race([came, sleep(1500, false)])
    stranger.on('error', () => {}).destroy()
    return answered
  }
  await expect.poll(isAnswered).toBe(false)
  socket.destroy()
})
