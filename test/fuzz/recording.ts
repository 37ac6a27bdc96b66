import { execFile } from 'node:child_process'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { connect, createServer } from 'node:net'
import { formatPublicKey, parsePublicKeyBlob, publicKeyBlob, Writer } from '../../src/ssh/index.ts'
import { Attacker, msg } from '../support/ssh-attacker.ts'
import { Impostor } from '../support/ssh-impostor.ts'
import { channelMsg, openChannel, signedLogin } from '../support/ssh-lab.ts'
import { Sshd } from '../support/sshd.ts'
import { encode, message, no, string, u32 } from './fields.ts'

/** What an OpenSSH client sends in a session that goes well, from its KEXINIT to its last word. */
export async function recordClient(): Promise<readonly Buffer[]> {
  const { promise, resolve, reject } = Promise.withResolvers<readonly Buffer[]>()
  const server = createServer((socket) => {
    const impostor = new Impostor(socket, generateKeyPairSync('ed25519').privateKey)
    void playHost(impostor).then(() => {
      socket.destroy()
      const ended = impostor.received.some(([type]) => type === channelMsg.eof)
      if (ended) resolve(impostor.received)
      else reject(new Error('ssh broke off its session'))
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const child = execFile('ssh', [
    ...['-F', 'none', '-tt', '-p', String(port), '-o', 'PreferredAuthentications=none'],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
    ...['-o', 'KexAlgorithms=curve25519-sha256', '-o', 'SendEnv=LANG', 'x@127.0.0.1', 'cat'],
  ])
  child.stdin?.end('typed\n')
  const recorded = await Promise.race([
    promise,
    new Promise<never>((_, reject) => {
      setTimeout(() => reject(new Error('ssh did not finish its session')), 120_000).unref()
    }),
  ])
  server.close()
  child.kill()
  return recorded
}

/** Says yes to everything, until the client has ended its input. */
async function playHost(impostor: Impostor): Promise<void> {
  await impostor.handshake()
  for (;;) {
    const payload = await impostor.next()
    if (payload === undefined) return
    const [type] = payload
    if (type === msg.serviceRequest) {
      impostor.send(encode(message('SERVICE_ACCEPT', msg.serviceAccept, string('ssh-userauth'))))
    } else if (type === msg.authRequest) impostor.send(Buffer.of(msg.authSuccess))
    else if (type === channelMsg.open) {
      const terms = [u32(0), u32(0), u32(2 ** 21), u32(2 ** 15)]
      impostor.send(encode(message('', channelMsg.confirmation, ...terms)))
    } else if (type === channelMsg.request && wantsReply(payload)) {
      impostor.send(encode(message('', channelMsg.success, u32(0))))
    } else if (type === channelMsg.eof || type === channelMsg.data) {
      const status = [u32(0), string('exit-status'), no, u32(0)]
      impostor.send(encode(message('', channelMsg.request, ...status)))
      impostor.send(encode(message('', channelMsg.close, u32(0))))
    }
  }
}

function wantsReply(payload: Buffer): boolean {
  return payload[9 + payload.readUInt32BE(5)] === 1
}

/** What an OpenSSH server sends in such a session, from its KEXINIT to its last word. */
export async function recordServer(): Promise<readonly Buffer[]> {
  const pair = generateKeyPairSync('ed25519')
  const sshd = await Sshd.start()
  try {
    const parsed = parsePublicKeyBlob(publicKeyBlob(pair.publicKey))
    if (!('key' in parsed)) throw new Error(parsed.problem)
    sshd.authorize(formatPublicKey(parsed.key))
    const socket = connect(sshd.port, sshd.host)
    const client = new Attacker(socket)
    await client.handshakeForLogin()
    client.send(signedLogin(client.sessionId, sshd.login, pair))
    await client.first(msg.authSuccess)
    client.send(openChannel(0))
    await client.first(channelMsg.confirmation)
    const command = `echo ${randomUUID()}; echo oops >&2; exit 3`
    client.send(
      new Writer().u8(channelMsg.request).u32(0).text('exec').boolean(true).text(command).build(),
    )
    await client.first(channelMsg.close)
    socket.destroy()
    return client.received
  } finally {
    await sshd.close()
  }
}
