import { generateKeyPairSync, sign } from 'node:crypto'
import { createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { connectUpstream, openSocket, Reader, Writer } from '../../../src/ssh/index.ts'
import { publicKeyOf } from '../../support/ssh-authority.ts'
import { Impostor, type KexReply } from '../../support/ssh-impostor.ts'
import { silent } from '../../support/ssh-pair.ts'

/** SSH_MSG_USERAUTH_PK_OK: RFC 4252 section 7. */
const authKeyTaken = 60

/** A server that sends one byte behind a good signature of its host key, and takes the key it is offered. */
class OneByteMore extends Impostor {
  override makeKexReply(clientInit: Buffer, initiate: Buffer): KexReply {
    const reply = super.makeKexReply(clientInit, initiate)
    return { ...reply, signature: Buffer.concat([reply.signature, Buffer.of(0)]) }
  }

  async takeKey(): Promise<void> {
    const offer = await this.loginRequest()
    if (offer === undefined) return
    const reader = new Reader(offer.subarray(1))
    for (const _field of ['user', 'service', 'method']) reader.string()
    reader.boolean()
    const [algorithm, key] = [reader.string(), reader.string()]
    this.send(new Writer().u8(authKeyTaken).string(algorithm).string(key).build())
  }
}

test('attack: a host signature that ssh2 takes and a signer does not is found before the signer is asked', async () => {
  const host = generateKeyPairSync('ed25519').privateKey
  const login = generateKeyPairSync('ed25519').privateKey
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    new OneByteMore(socket, host).takeKey().catch(() => {})
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  let asked = 0
  const connection = connectUpstream({
    socket: openSocket('127.0.0.1', address.port),
    user: 'root',
    hostKeyTypes: ['ssh-ed25519'],
    verifyHostKey: async () => true,
    key: {
      publicKey: publicKeyOf(login).blob,
      async sign(data) {
        asked++
        return new Writer()
          .text('ssh-ed25519')
          .string(sign(null, data, login))
          .build()
      },
    },
    handshakeMs: 60_000,
    log: silent,
  })
  await expect(connection).rejects.toMatchObject({ code: 'ERR_UPSTREAM_HOST_PROOF' })
  expect(asked).toBe(0)
  for (const socket of sockets) socket.destroy()
  server.close()
})
