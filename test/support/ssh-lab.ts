import { generateKeyPairSync, sign } from 'node:crypto'
import { type Duplex, duplexPair } from 'node:stream'
import { pino } from 'pino'
import {
  type Channel,
  type ChannelRequest,
  type Connection,
  createSshServer,
  generateHostKey,
  publicKeyBlob,
  type SshServerOptions,
  verifyUserSignature,
  Writer,
} from '../../src/ssh/index.ts'
import { Attacker, authRequest, msg, publicKeyFields } from './ssh-attacker.ts'

/** Numbers of RFC 4254's messages. */
export const channelMsg = {
  open: 90,
  confirmation: 91,
  failure: 92,
  adjust: 93,
  data: 94,
  extendedData: 95,
  eof: 96,
  close: 97,
  request: 98,
  success: 99,
  refused: 100,
} as const

/** What our side of a channel was told, in order. */
export type Told = readonly [what: string, value?: unknown]

export interface ChannelLab {
  readonly attacker: Attacker
  readonly connection: Connection
  /** Our side's channels, in the order in which they were accepted. */
  readonly channels: Channel[]
  readonly requests: ChannelRequest[]
  readonly told: Told[]
  /** Our end of the wire. */
  readonly wire: Duplex
  /** Takes what our side holds for a channel, from then on. */
  listen(channel: Channel | undefined): void
}

/** Our server, and an attacker who has logged in with a good key. */
export async function openChannelLab(options: Partial<SshServerOptions> = {}): Promise<ChannelLab> {
  const { promise, resolve } = Promise.withResolvers<Connection>()
  const server = createSshServer({
    hostKeys: [generateHostKey()],
    ident: 'VaultTerm',
    loginGraceMs: 60_000,
    authTriesMax: 3,
    channelsMax: 8,
    log: pino({ level: 'silent' }),
    ...options,
  })
  const [wire, theirs] = duplexPair()
  const channels: Channel[] = []
  const requests: ChannelRequest[] = []
  const told: Told[] = []
  server.serve(wire, {
    authenticate: async ({ key, algorithm, signature, signedData }) =>
      verifyUserSignature({ key, algorithm, signature, data: signedData }),
    ready: (connection) => {
      connection.onChannelOpen = (open) => channels.push(open.accept())
      resolve(connection)
    },
  })
  const attacker = new Attacker(theirs)
  await attacker.handshakeForLogin()
  attacker.send(signedLogin(attacker.sessionId))
  await attacker.first(msg.authSuccess)
  const connection = await promise
  return {
    attacker,
    connection,
    channels,
    requests,
    told,
    wire,
    listen(channel) {
      channel?.handle({
        data: (chunk) => told.push(['data', chunk.toString()]),
        extendedData: (kind, chunk) => told.push(['extended', `${kind}:${chunk}`]),
        request: (request) => {
          requests.push(request)
          told.push(['request', request.name])
        },
        eof: () => told.push(['eof']),
        close: () => told.push(['close']),
      })
    },
  }
}

/** Our server, and a wire to it on which nobody has logged in. */
export function openUnauthenticated(): { readonly wire: Duplex; readonly ready: () => boolean } {
  let isReady = false
  const server = createSshServer({
    hostKeys: [generateHostKey()],
    ident: 'VaultTerm',
    loginGraceMs: 60_000,
    authTriesMax: 3,
    channelsMax: 8,
    log: pino({ level: 'silent' }),
  })
  const [ours, wire] = duplexPair()
  server.serve(ours, {
    authenticate: async () => false,
    ready: () => {
      isReady = true
    },
  })
  return { wire, ready: () => isReady }
}

/** A login with a key of its own, which such a server takes, or with this one. */
export function signedLogin(
  sessionId: Buffer,
  user = 'somebody',
  { privateKey } = generateKeyPairSync('ed25519'),
): Buffer {
  const fields = publicKeyFields('ssh-ed25519', publicKeyBlob(privateKey), true)
  const request = authRequest(user, 'publickey', fields)
  const data = new Writer().string(sessionId).bytes(request).build()
  const signature = new Writer()
    .text('ssh-ed25519')
    .string(sign(null, data, privateKey))
    .build()
  return new Writer().bytes(request).string(signature).build()
}

export function openChannel(sender: number, window = 2 ** 21, packetMax = 32_768): Buffer {
  return new Writer()
    .u8(channelMsg.open)
    .text('session')
    .u32(sender)
    .u32(window)
    .u32(packetMax)
    .build()
}

export function channelData(recipient: number, bytes: Buffer | string): Buffer {
  return new Writer().u8(channelMsg.data).u32(recipient).string(Buffer.from(bytes)).build()
}

export function channelRequest(
  recipient: number,
  name: string,
  wantReply: boolean,
  rest: Uint8Array = Buffer.alloc(0),
) {
  return new Writer()
    .u8(channelMsg.request)
    .u32(recipient)
    .text(name)
    .boolean(wantReply)
    .bytes(rest)
    .build()
}

export function forChannel(
  number: number,
  recipient: number,
  ...values: readonly number[]
): Buffer {
  const writer = new Writer().u8(number).u32(recipient)
  for (const value of values) writer.u32(value)
  return writer.build()
}
