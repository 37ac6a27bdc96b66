import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { duplexPair } from 'node:stream'
import { afterAll, describe, expect, test } from 'vitest'
import {
  type Channel,
  ChannelOpenRefused,
  type ChannelRequest,
  type Connection,
  formatPublicKey,
  openFailure,
  Writer,
} from '../../../src/ssh/index.ts'
import { runProgram } from '../../support/program.ts'
import { Authority, publicKeyOf } from '../../support/ssh-authority.ts'
import { listenForClients } from '../../support/ssh-listener.ts'
import { connectOn, serveOn, signingKey } from '../../support/ssh-pair.ts'
import { Sshd } from '../../support/sshd.ts'

/** What one side says arrives at the other as it was said. */
const keys = new Authority()
const user = keys.newKey('ed25519')
afterAll(() => keys.remove())

/** Every byte there is but the one that ends a string in C, and none of it text. */
const raw = Buffer.from(Array.from({ length: 255 }, (_, index) => 255 - index))
/** The same for a shell. */
const octal = [...raw].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')

async function withTarget(settings: readonly string[], use: (connection: Connection) => unknown) {
  const sshd = await Sshd.start(settings)
  try {
    const { privateKey } = generateKeyPairSync('ed25519')
    sshd.authorize(formatPublicKey(publicKeyOf(privateKey)))
    const socket = connect(sshd.port, sshd.host)
    await once(socket, 'connect')
    const connection = await connectOn(socket, { user: sshd.login, key: signingKey(privateKey) })
    await use(connection)
    connection.destroy()
  } finally {
    await sshd.close()
  }
}

const forward = (port: number) =>
  new Writer().text('127.0.0.1').u32(port).text('127.0.0.1').u32(1).build()

/** What ssh says when our server answers its channel so. */
async function sshRefused(reason: number, text: string): Promise<string> {
  const listener = await listenForClients((connection) => {
    connection.onChannelOpen = (open) => open.reject(reason, text)
  })
  const { stderr } = await runProgram('ssh', [
    ...['-F', 'none', '-i', user.file, '-p', String(listener.port), '-W', 'db:5432'],
    ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
    'somebody@127.0.0.1',
  ])
  await listener.close()
  return stderr
}

describe('a channel that is refused', () => {
  test.each([
    ['administratively prohibited', openFailure.administrativelyProhibited],
    ['connect failed', openFailure.connectFailed],
    ['unknown channel type', openFailure.unknownChannelType],
    ['resource shortage', openFailure.resourceShortage],
  ])('tells ssh why: %s', async (name, reason) => {
    expect(await sshRefused(reason, 'ask Maria for it')).toContain(
      `open failed: ${name}: ask Maria for it`,
    )
  })

  test('tells our callers why, in the words of the other side', async () => {
    const [ours, theirs] = duplexPair()
    const served = serveOn(ours)
    const connection = await connectOn(theirs)
    const server = await served
    const text = 'not today – morgen!'
    server.onChannelOpen = (open) => open.reject(openFailure.resourceShortage, text)
    const refusal = await connection.openChannel('session', Buffer.alloc(0)).catch((err) => err)
    expect(refusal).toBeInstanceOf(ChannelOpenRefused)
    expect(refusal).toMatchObject({ reason: openFailure.resourceShortage, text })
    expect(refusal.message).toBe(`the channel was refused: resource shortage, “${text}”`)
    server.onChannelOpen = (open) => open.reject(0xffff_ffff, '')
    expect(await connection.openChannel('x', Buffer.alloc(0)).catch((err) => err)).toMatchObject({
      reason: 0xffff_ffff,
      message: 'the channel was refused: reason 4294967295',
    })
    connection.destroy()
  })

  test('tells our callers what sshd says', async () => {
    await withTarget(['AllowTcpForwarding no', 'PermitOpen none'], async (connection) => {
      const refusals = []
      for (const [type, payload] of [
        ['direct-tcpip', forward(1)],
        ['nonsense', Buffer.alloc(0)],
      ] as const) {
        const refusal = await connection.openChannel(type, payload).catch((err) => err)
        refusals.push([refusal.reason, refusal.text])
      }
      const prohibited = openFailure.administrativelyProhibited
      expect(refusals).toEqual([
        [prohibited, 'open failed'],
        [openFailure.connectFailed, 'open failed'],
      ])
    })
    await withTarget([], async (connection) => {
      const refusal = connection.openChannel('direct-tcpip', forward(1))
      await expect(refusal).rejects.toMatchObject({
        reason: openFailure.connectFailed,
        text: expect.stringContaining('refused'),
      })
    })
  })
})

describe('bytes that are no text', () => {
  test('of a command and of the environment reach our server as ssh sent them', async () => {
    const came: [name: string, payload: Buffer][] = []
    const listener = await listenForClients((connection) => {
      connection.onChannelOpen = (open) => {
        const channel = open.accept()
        channel.handle({
          data: () => {},
          extendedData: () => {},
          request: (request: ChannelRequest) => {
            came.push([request.name, request.payload])
            request.reply(true)
            if (request.name !== 'exec') return
            void channel.request('exit-status', Buffer.alloc(4), false)
            channel.close()
          },
          eof: () => {},
          close: () => {},
        })
      }
    })
    const ssh = [
      ...['ssh', '-F', 'none', '-i', user.file, '-p', String(listener.port)],
      ...['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null'],
      ...['-o', 'SendEnv=RAW', 'somebody@127.0.0.1'],
    ].join(' ')
    const { code, stderr } = await runProgram('sh', [
      '-c',
      `bytes=$(printf '${octal}'); RAW=$bytes ${ssh} "$bytes"`,
    ])
    await listener.close()
    expect(code, stderr).toBe(0)
    expect(came).toContainEqual(['env', new Writer().text('RAW').string(raw).build()])
    expect(came).toContainEqual(['exec', new Writer().string(raw).build()])
  })

  test('of a command and of the environment reach sshd as our client sent them', async () => {
    await withTarget([], async (connection) => {
      const channel = await connection.openChannel('session', Buffer.alloc(0))
      const output = readAll(channel)
      const environment = new Writer().text('RAW').string(raw).build()
      expect(await channel.request('env', environment, true)).toBe(true)
      // A quote in the command would end it.
      const quoted = raw.filter((byte) => byte !== 0x27)
      const command = new Writer()
        .string(
          Buffer.concat([
            Buffer.from(`/usr/bin/printenv RAW; /usr/bin/printf %s '`),
            quoted,
            Buffer.from(`'`),
          ]),
        )
        .build()
      expect(await channel.request('exec', command, true)).toBe(true)
      expect(await output).toEqual(Buffer.concat([raw, Buffer.from('\n'), quoted]))
    })
  })
})

function readAll(channel: Channel): Promise<Buffer> {
  const came: Buffer[] = []
  return new Promise((resolve) =>
    channel.handle({
      data: (chunk) => {
        came.push(Buffer.from(chunk))
        channel.consumed(chunk.length)
      },
      extendedData: (_kind, chunk) => channel.drop(chunk),
      request: (request) => request.reply(false),
      eof: () => {},
      close: () => resolve(Buffer.concat(came)),
    }),
  )
}
