import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { connect, createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { Reader, Writer } from '../../../src/ssh/wire.ts'
import { Attacker, authRequest, msg, publicKeyFields } from '../../support/ssh-attacker.ts'
import {
  type LoginRequest,
  loadSsh2,
  makeHostKeys,
  openLab,
  type Ssh2,
} from '../../support/ssh2-library.ts'
import { makeStockSsh2 } from '../../support/ssh2-stock.ts'

const installed = dirname(createRequire(import.meta.url).resolve('ssh2/package.json'))
const stock = makeStockSsh2()
afterAll(() => stock.remove())

interface Library {
  readonly path: string
  readonly ssh2: Ssh2
}
const patchedLibrary: Library = { path: installed, ssh2: loadSsh2(installed) }
const stockLibrary: Library = { path: stock.path, ssh2: loadSsh2(stock.path) }

/** The same attack on both: ours stands it, and the control shows what stock ssh2 does. */
function attack(
  name: string,
  run: (library: Library) => Promise<unknown>,
  outcome: { ours: unknown; stock: unknown },
) {
  test(name, async () => {
    expect(await run(patchedLibrary)).toEqual(outcome.ours)
  })
  test(`${name} (control: stock ssh2)`, async () => {
    expect(await run(stockLibrary)).toEqual(outcome.stock)
  })
}

const ed25519Key = new Writer().text('ssh-ed25519').string(Buffer.alloc(32, 7)).build()
const rsaKey = new Writer()
  .text('ssh-rsa')
  .mpint(Buffer.from([1, 0, 1]))
  .mpint(Buffer.alloc(256, 0x5a))
  .build()
const offer = authRequest('bob', 'publickey', publicKeyFields('ssh-ed25519', ed25519Key, false))
const none = authRequest('bob', 'none')

/** Long enough for an answer on one machine; only absences wait so long. */
const silenceMs = 1500

async function isClosedSoon(attacker: Attacker): Promise<boolean> {
  return Promise.race([attacker.closed.then(() => true), sleep(silenceMs, false)])
}

/** A server in a process of its own, whose life has a limit. */
async function startVictim(path: string) {
  const script = join(import.meta.dirname, '../../support/ssh2-victim.ts')
  const child = spawn(process.execPath, [script, path], {
    stdio: ['pipe', 'pipe', 'ignore'],
    timeout: 60_000,
    killSignal: 'SIGKILL',
  })
  const exited = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await exited
  })
  const lines = createInterface(child.stdout)
  const [port] = await once(lines, 'line')
  return {
    /** The most memory that it ever had. */
    async peakMiB(): Promise<number> {
      child.stdin.write('\n')
      const [line] = await once(lines, 'line')
      return Number(line)
    },
    connect() {
      const socket = connect(Number(port), '127.0.0.1')
      onTestFinished(() => {
        socket.destroy()
      })
      return new Attacker(socket)
    },
    /** Whether it still serves others, or is no more. */
    async state(): Promise<'serves' | 'dead'> {
      const next = this.connect()
      const served = next.handshakeForLogin().then(
        () => 'serves' as const,
        () => exited.then(() => 'dead' as const),
      )
      return Promise.race([served, exited.then(() => 'dead' as const)])
    },
  }
}

describe('answers to logins', () => {
  attack(
    'survives a client that sends the messages of a server',
    async ({ path }) => {
      const victim = await startVictim(path)
      const attacker = victim.connect()
      await attacker.handshakeForLogin()
      const failure = new Writer().u8(msg.authFailure).text('publickey').boolean(false).build()
      attacker.send(none, failure)
      await Promise.race([attacker.closed, attacker.first(msg.authFailure).catch(() => {})])
      await sleep(100)
      return victim.state()
    },
    { ours: 'serves', stock: 'dead' },
  )

  attack(
    'sets no memory aside for answers that are only announced',
    async ({ path }) => {
      const victim = await startVictim(path)
      const attacker = victim.connect()
      await attacker.handshakeForLogin()
      attacker.send(
        authRequest('bob', 'keyboard-interactive', new Writer().text('').text('').build()),
      )
      await attacker.first(msg.authMethod60)
      const before = await victim.peakMiB()
      attacker.send(new Writer().u8(msg.authInfoResponse).u32(33_554_431).build())
      await attacker.closed
      // Eight bytes for each of them.
      return (await victim.peakMiB()) - before > 128 ? 'took it' : 'took none'
    },
    { ours: 'took none', stock: 'took it' },
  )

  attack(
    'lets nobody in who has left before the answer',
    async ({ ssh2 }) => {
      const { promise: gone, resolve } = Promise.withResolvers<void>()
      const { attacker, requests, loggedIn } = openLab(ssh2, undefined, (client) => {
        client.on('end', resolve)
      })
      await attacker.handshakeForLogin()
      attacker.send(none)
      attacker.end()
      await gone
      requests[0]?.accept()
      return { asked: requests.length, in: loggedIn() }
    },
    { ours: { asked: 1, in: false }, stock: { asked: 1, in: true } },
  )

  attack(
    'lets nobody in on an answer after the disconnection',
    async ({ ssh2 }) => {
      const { attacker, requests, loggedIn } = openLab(ssh2)
      await attacker.handshakeForLogin()
      attacker.send(none, authRequest('alice', 'none'))
      await attacker.disconnectReason()
      requests[0]?.accept()
      return { asked: requests.length, in: loggedIn() }
    },
    { ours: { asked: 1, in: false }, stock: { asked: 1, in: true } },
  )

  attack(
    'names the algorithm that was asked for when it takes an offer',
    async ({ ssh2 }) => {
      const { attacker } = openLab(ssh2, (request) => request.accept())
      await attacker.handshakeForLogin()
      attacker.send(authRequest('bob', 'publickey', publicKeyFields('rsa-sha2-256', rsaKey, false)))
      const reply = await attacker.first(msg.authMethod60)
      return reply.toString('latin1', 5, 5 + reply.readUInt32BE(1))
    },
    { ours: 'rsa-sha2-256', stock: 'ssh-rsa' },
  )

  attack(
    'says which signatures it takes, and only those',
    async ({ ssh2 }) => {
      const { attacker } = openLab(ssh2)
      await attacker.handshakeForLogin()
      const info = await attacker.first(msg.extInfo)
      const reader = new Reader(info)
      reader.bytes(1 + 4)
      return [reader.text(), reader.text()].join(' ')
    },
    {
      ours: 'server-sig-algs ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256',
      stock:
        'server-sig-algs ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521rsa-sha2-512,rsa-sha2-256,ssh-rsa,ssh-dss',
    },
  )
})

describe('requests to log in', () => {
  attack(
    'are asked about in the order they came',
    async ({ ssh2 }) => {
      const { attacker, requests } = openLab(ssh2)
      await attacker.handshakeForLogin()
      const algorithms = ['first', 'second', 'third']
      const offers = algorithms.map((algorithm) =>
        authRequest('bob', 'publickey', publicKeyFields(algorithm, ed25519Key, false)),
      )
      attacker.send(...offers)
      await attacker.until(() => requests[0])
      // Each answer lets the next one through.
      for (let i = 0; i < offers.length; i++) requests[i]?.reject()
      return requests.map((request) => request.key.algo)
    },
    { ours: ['first', 'second', 'third'], stock: ['first', 'third', 'second'] },
  )

  attack(
    'are not forgotten behind an offer that is taken late',
    async ({ ssh2 }) => {
      const { attacker, requests } = openLab(ssh2)
      await attacker.handshakeForLogin()
      attacker.send(offer, authRequest('bob', 'none'))
      await attacker.until(() => requests[0])
      requests[0]?.accept()
      return requests.map((request) => request.method)
    },
    { ours: ['publickey', 'none'], stock: ['publickey'] },
  )

  attack(
    'may give up on one method and go on with another',
    async ({ ssh2 }) => {
      const thrown: string[] = []
      const { attacker } = openLab(ssh2, (request) => {
        if (request.method === 'keyboard-interactive') return request.prompt('code')
        try {
          request.accept()
        } catch (err) {
          thrown.push(err instanceof Error ? err.message : String(err))
        }
      })
      await attacker.handshakeForLogin()
      attacker.send(
        authRequest('bob', 'keyboard-interactive', new Writer().text('').text('').build()),
      )
      await attacker.first(msg.authMethod60)
      attacker.send(offer)
      const replies = () => attacker.received.filter(([type]) => type === msg.authMethod60).length
      // What is thrown sends nothing that could be waited for.
      while (thrown.length === 0 && replies() < 2) await sleep(5)
      return { thrown, replies: replies() }
    },
    {
      ours: { thrown: [], replies: 2 },
      stock: { thrown: ['"publickey" auth not in progress'], replies: 1 },
    },
  )

  attack(
    'hand over key, signature and what was signed as they came, whatever type of key it is',
    async ({ ssh2 }) => {
      const { attacker, requests } = openLab(ssh2)
      await attacker.handshakeForLogin()
      const algorithm = 'sk-ssh-ed25519@openssh.com'
      const key = new Writer().text(algorithm).string(Buffer.alloc(32, 3)).text('ssh:').build()
      const signature = new Writer()
        .text(algorithm)
        .string(Buffer.alloc(64, 9))
        .u8(1)
        .u32(5)
        .build()
      const signed = authRequest('bob', 'publickey', publicKeyFields(algorithm, key, true))
      attacker.send(Buffer.concat([signed, new Writer().string(signature).build()]))
      await attacker.until(() => requests[0])
      const [request] = requests
      const data = new Writer().string(attacker.sessionId).bytes(signed).build()
      return {
        requestedAlgo: request?.requestedAlgo,
        key: request?.key.data.equals(key),
        keyBlob: request?.keyBlob?.equals(key),
        rawSignature: request?.rawSignature?.equals(signature),
        signedData: request?.signedData?.equals(data),
        blob: request?.blob?.equals(data),
        sessionId: request?.sessionId?.equals(attacker.sessionId),
      }
    },
    {
      ours: {
        requestedAlgo: 'sk-ssh-ed25519@openssh.com',
        key: true,
        keyBlob: true,
        rawSignature: true,
        signedData: true,
        blob: true,
        sessionId: true,
      },
      stock: { key: true, blob: true },
    },
  )

  const signedRequest = authRequest(
    'bob',
    'publickey',
    publicKeyFields('ssh-ed25519', ed25519Key, true),
  )
  const signature = new Writer().text('ssh-ed25519').string(Buffer.alloc(64)).build()
  const malformed = (request: Uint8Array) => async (library: Library) => {
    const { attacker, requests, errors } = openLab(library.ssh2)
    await attacker.handshakeForLogin()
    attacker.send(request)
    await attacker.until(() => (errors.length + requests.length > 0 ? true : undefined))
    await isClosedSoon(attacker)
    const disconnect = attacker.received.find(([type]) => type === msg.disconnect)
    return {
      asked: requests.map((request) => request.username),
      errors: errors.map((err) => err.message),
      disconnect: disconnect?.readUInt32BE(1),
    }
  }
  const refused = {
    asked: [],
    errors: ['Inbound: Malformed USERAUTH_REQUEST packet'],
    disconnect: 2,
  }

  attack(
    'end the connection in good order when the key is missing',
    malformed(authRequest('bob', 'publickey', Buffer.from('01ffffffff0000000000000000', 'hex'))),
    {
      ours: refused,
      stock: {
        asked: [],
        errors: ["Cannot read properties of undefined (reading 'length')"],
        disconnect: undefined,
      },
    },
  )
  attack(
    'end the connection when something follows the signature',
    malformed(
      Buffer.concat([signedRequest, new Writer().string(signature).build(), Buffer.from('more')]),
    ),
    { ours: refused, stock: { asked: ['bob'], errors: [], disconnect: undefined } },
  )
  attack(
    'end the connection when they name no user',
    malformed(
      new Writer().u8(msg.authRequest).u32(0xffffffff).text('ssh-connection').text('none').build(),
    ),
    { ours: refused, stock: { asked: [undefined], errors: [], disconnect: undefined } },
  )
})

describe('handshakes', () => {
  attack(
    'take an identification that comes byte by byte',
    async ({ ssh2 }) => {
      const { attacker } = openLab(ssh2)
      for (const byte of Buffer.from('SSH-2.0-attacker\r\n')) {
        attacker.write(Buffer.of(byte))
        await setImmediate()
      }
      const init = attacker.sendKexInit()
      const finished = attacker.finishHandshake(init, attacker.sendKexInitiate())
      return finished.then(
        () => 'finished',
        () => 'failed',
      )
    },
    { ours: 'finished', stock: 'failed' },
  )

  attack(
    'end for a client that only ever ends its line',
    async ({ ssh2 }) => {
      const { attacker } = openLab(ssh2)
      for (let i = 0; i < 20; i++) attacker.write(Buffer.alloc(1000, '\r'))
      return isClosedSoon(attacker)
    },
    { ours: true, stock: false },
  )

  attack(
    'offer no exchange that is not there',
    async ({ ssh2 }) => {
      const { attacker } = openLab(ssh2)
      attacker.sendIdent()
      const offered = (await attacker.first(msg.kexInit)).toString('latin1')
      return offered.includes('diffie-hellman-group-exchange')
    },
    { ours: false, stock: true },
  )

  attack(
    'do not agree on the name of an extension',
    async ({ ssh2 }) => {
      const { attacker, errors } = openLab(ssh2)
      attacker.sendIdent()
      attacker.sendKexInit({ kex: ['kex-strict-s-v00@openssh.com'] })
      await attacker.closed
      return errors.map((err) => err.message)
    },
    {
      ours: ['Handshake failed: no matching key exchange algorithm'],
      stock: ['Unsupported key exchange algorithm: kex-strict-s-v00@openssh.com'],
    },
  )

  attack(
    'end in good order when an exchange begins before it was agreed on',
    async ({ ssh2 }) => {
      const { attacker, errors } = openLab(ssh2)
      attacker.sendIdent()
      attacker.send(new Writer().u8(msg.kexInitiate).string(Buffer.alloc(32, 9)).build())
      const reason = await attacker.disconnectReason()
      return { errors: errors.map((err) => err.message), reason }
    },
    {
      ours: { errors: ['Received packet type 30 before KEXINIT'], reason: 3 },
      stock: {
        errors: ["Cannot read properties of undefined (reading 'parse')"],
        reason: undefined,
      },
    },
  )

  const kex = ['curve25519-sha256@libssh.org', 'curve25519-sha256']
  const openWithList = (ssh2: Ssh2) => openLab(ssh2, undefined, undefined, { algorithms: { kex } })
  attack(
    'take a right guess of the exchange',
    async ({ ssh2 }) => {
      const { attacker } = openWithList(ssh2)
      attacker.sendIdent()
      // What the server would have first, too.
      const init = attacker.sendKexInit({ kex, guess: true })
      const finished = attacker.finishHandshake(init, attacker.sendKexInitiate())
      return Promise.race([finished.then(() => 'finished'), sleep(silenceMs, 'waits for ever')])
    },
    { ours: 'finished', stock: 'waits for ever' },
  )

  test.each([
    ['of an exchange', { kex: kex.toReversed() }],
    ['of a host key', { kex, hostKeys: ['rsa-sha2-512', 'ssh-ed25519'] }],
  ])('pass over a wrong guess %s', async (_, lists) => {
    const { attacker } = openWithList(patchedLibrary.ssh2)
    attacker.sendIdent()
    const init = attacker.sendKexInit({ ...lists, guess: true })
    attacker.send(new Writer().u8(msg.kexInitiate).string(Buffer.alloc(32, 9)).build())
    await attacker.finishHandshake(init, attacker.sendKexInitiate())
    attacker.send(new Writer().u8(msg.serviceRequest).text('ssh-userauth').build())
    await attacker.first(msg.serviceAccept)
  })
})

describe('after the end', () => {
  type End = (request: LoginRequest, end: () => void, destroy: () => void) => void
  /** Counts the logins that are asked about, when the first of them ends the connection. */
  const countRequests =
    (end: End, ...payloads: readonly Uint8Array[]) =>
    async ({ ssh2 }: Library) => {
      const { attacker, requests } = openLab(ssh2, (request, client) => {
        end(
          request,
          () => client.end(),
          () => client._sock.destroy(),
        )
      })
      await attacker.handshakeForLogin()
      attacker.send(...payloads)
      await attacker.until(() => requests[0])
      await sleep(50)
      return requests.length
    }
  const refuse: End = (request) => request.reject()

  attack(
    'asks about nothing that came in the same chunk as what it ended for',
    countRequests(
      (request, end) => {
        request.reject()
        end()
      },
      none,
      none,
      none,
    ),
    { ours: 1, stock: 3 },
  )
  attack(
    'asks about nothing once the socket is destroyed',
    countRequests(
      (request, _, destroy) => {
        request.reject()
        destroy()
      },
      none,
      none,
      none,
    ),
    { ours: 1, stock: 3 },
  )
  attack(
    'asks about nothing that follows an error',
    countRequests(refuse, none, authRequest('alice', 'none'), none),
    { ours: 1, stock: 2 },
  )
  attack(
    'asks about nothing that follows the farewell of the client',
    countRequests(
      refuse,
      none,
      new Writer().u8(msg.disconnect).u32(11).text('').text('').build(),
      none,
    ),
    { ours: 1, stock: 2 },
  )

  attack(
    'reads no more of a client that was not understood',
    async ({ ssh2 }) => {
      const { attacker, errors } = openLab(ssh2)
      await attacker.handshakeForLogin()
      for (let i = 0; i < 3; i++) {
        attacker.write(Buffer.alloc(64, 0xff))
        await sleep(20)
      }
      return errors.length
    },
    { ours: 1, stock: 3 },
  )
})

describe('keys from the network', () => {
  /** An OpenSSH public key as a person would write it, where the protocol wants a blob. */
  const asText = Buffer.from(`ssh-ed25519 ${ed25519Key.toString('base64')} me`)
  const announcement = (key: Buffer) =>
    new Writer()
      .u8(msg.globalRequest)
      .text('hostkeys-00@openssh.com')
      .boolean(false)
      .string(key)
      .build()

  attack(
    'are not parsed for a stranger',
    async ({ ssh2 }) => {
      const seen: unknown[] = []
      const { attacker } = openLab(ssh2, undefined, (client) => {
        client._protocol._handlers.GLOBAL_REQUEST = (_protocol, _name, _reply, data) => {
          seen.push(data)
        }
      })
      await attacker.handshakeForLogin()
      attacker.send(announcement(asText))
      await attacker.until(() => (seen.length > 0 ? true : undefined))
      return seen.map((data) => (Array.isArray(data) ? `${data.length} keys` : 'bytes'))
    },
    { ours: ['bytes'], stock: ['1 keys'] },
  )

  attack(
    'are never read as text',
    async ({ ssh2 }) => {
      const server = new ssh2.Server({ hostKeys: makeHostKeys() }, (client) => {
        client.on('error', () => {})
        client.on('handshake', () => {
          const { _packetRW: packets, _cipher: cipher } = client._protocol
          for (const key of [asText, ed25519Key]) {
            const payload = announcement(key)
            const packet = packets.write.alloc(payload.length)
            packet.set(payload, packets.write.allocStart)
            cipher.encrypt(packets.write.finalize(packet))
          }
        })
      })
      const listener = createServer((socket) => server.injectSocket(socket))
      onTestFinished(() => {
        listener.close()
      })
      await once(listener.listen(0, '127.0.0.1'), 'listening')
      const address = listener.address()
      const port = typeof address === 'object' ? address?.port : undefined
      const client = new ssh2.Client()
      const seen: unknown[] = []
      const { promise: done, resolve } = Promise.withResolvers<void>()
      client.on('error', () => {})
      client.connect({ host: '127.0.0.1', port, username: 'bob', authHandler: () => undefined })
      client._protocol._handlers.GLOBAL_REQUEST = (_protocol, _name, _reply, data) => {
        seen.push(data)
        if (seen.length === 2) resolve()
      }
      await done
      client.end()
      return seen.map((data) => (Array.isArray(data) ? data.length : data))
    },
    { ours: [0, 1], stock: [1, 1] },
  )
})
