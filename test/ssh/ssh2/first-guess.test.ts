import { createServer } from 'node:net'
import { duplexPair } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import { Writer } from '../../../src/ssh/wire.ts'
import { runProgram } from '../../support/program.ts'
import { Attacker, msg } from '../../support/ssh-attacker.ts'
import { Authority } from '../../support/ssh-authority.ts'
import { hybridExchange } from '../../support/ssh-exchange.ts'
import { serveExchange } from '../../support/ssh-exchange-server.ts'
import { echoSessions } from '../../support/ssh-listener.ts'
import { connectOn, serveOn } from '../../support/ssh-pair.ts'
import { openTap } from '../../support/ssh-tap.ts'

/** RFC 4253 section 7: a packet may follow on a guess of the key exchange, which may be wrong. */
const keys = new Authority()
afterAll(() => keys.remove())

const hybrid = 'mlkem768x25519-sha256'
const classical = 'curve25519-sha256'
const garbage = (type: number) => new Writer().u8(type).string(Buffer.alloc(32, 9)).build()

test('dbclient guesses wrong, and gets in', async () => {
  const tap = openTap()
  const served = serveOn(tap.server).then(echoSessions)
  const server = createServer((socket) => {
    socket.on('error', () => tap.client.destroy())
    socket.pipe(tap.client).pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? String(address?.port) : ''
  const file = `${keys.newKey('ed25519').file}.dropbear`
  expect((await runProgram('dropbearkey', ['-t', 'ed25519', '-f', file])).code).toBe(0)
  const { stdout, stderr } = await runProgram(
    'dbclient',
    ['-y', '-y', '-i', file, '-p', port, 'somebody@127.0.0.1', 'echo'],
    { input: Buffer.from('well\n') },
  )
  server.close()
  expect(stdout.toString(), stderr).toBe('well\n')
  await served
  // It did guess, and it was wrong: its half of the exchange went out twice.
  const sent = tap.seen.filter(({ from }) => from === 'client').map(({ payload }) => payload)
  const init = sent.find(([type]) => type === msg.kexInit)
  expect(init?.at(-5)).toBe(1)
  expect(sent.filter(([type]) => type === msg.kexInitiate)).toHaveLength(2)
})

describe('our server', () => {
  const hostKeys = [keys.newKey('ed25519'), keys.newKey('rsa', '3072')]
  const open = () => {
    const [ours, theirs] = duplexPair()
    void serveOn(ours, hostKeys)
    const attacker = new Attacker(theirs)
    attacker.sendIdent()
    return attacker
  }

  test('takes a right guess', async () => {
    const attacker = open()
    const init = attacker.sendKexInit({ kex: [hybrid, classical], guess: true })
    await attacker.finishHandshake(init, attacker.sendKexInitiate(hybridExchange()))
  })

  test.each([
    ['of the exchange', { kex: [classical, hybrid] }],
    ['of an exchange that it does not know', { kex: ['sntrup761x25519-sha512', classical] }],
    ['of the host key', { kex: [hybrid], hostKeys: ['rsa-sha2-512', 'ssh-ed25519'] }],
  ])('passes over a wrong guess %s', async (_, lists) => {
    const attacker = open()
    const init = attacker.sendKexInit({ ...lists, guess: true })
    attacker.send(garbage(msg.kexInitiate))
    const exchange = lists.kex.includes(hybrid) && lists.kex[0] === hybrid && hybridExchange()
    await attacker.finishHandshake(init, attacker.sendKexInitiate(exchange || undefined))
  })

  test('passes over one packet and no more', async () => {
    const attacker = open()
    attacker.sendKexInit({ kex: [classical], guess: true })
    attacker.send(garbage(msg.kexInitiate), Buffer.from([99]))
    expect(await attacker.disconnectReason()).toBe(3)
  })

  test('takes what was not announced as a guess for the exchange itself (control)', async () => {
    const attacker = open()
    attacker.sendKexInit({ kex: [classical] })
    attacker.send(garbage(msg.kexInitiate))
    await attacker.first(msg.kexReply)
  })
})

describe('our client', () => {
  /** Whether it takes new keys from such a server. */
  const exchange = async (opening: Parameters<typeof serveExchange>[1]) => {
    const [ours, theirs] = duplexPair()
    const connected = connectOn(ours).catch(() => {})
    const taken = await serveExchange(theirs, opening)
    ours.destroy()
    await connected
    return taken
  }

  test('takes the answer of a server that guesses nothing', async () => {
    expect(await exchange({ kex: [hybrid] })).toBe(true)
    expect(await exchange({ kex: [classical] })).toBe(true)
  })

  test('takes the answer of a server whose guess was right, and sent nothing for it', async () => {
    expect(await exchange({ kex: [hybrid, classical], guess: true })).toBe(true)
  })

  test.each([
    ['of the exchange', { kex: ['ecdh-sha2-nistp256', hybrid] }],
    ['of an exchange that it does not know', { kex: ['sntrup761x25519-sha512', hybrid] }],
    ['of the host key', { kex: [hybrid], hostKeys: ['ssh-dss', 'ssh-ed25519'] }],
  ])('passes over a wrong guess %s', async (_, lists) => {
    const guessed = garbage(msg.kexReply)
    expect(await exchange({ ...lists, guess: true, guessed })).toBe(true)
  })

  test('leaves over a wrong guess that was not announced (control)', async () => {
    const guessed = garbage(msg.kexReply)
    expect(await exchange({ kex: [classical], guessed })).toBe(false)
  })
})
