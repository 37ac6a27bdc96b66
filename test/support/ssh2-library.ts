import { generateKeyPairSync } from 'node:crypto'
import { createRequire } from 'node:module'
import { type Duplex, duplexPair } from 'node:stream'
import { formatOpenSshPrivateKey } from '../../src/ssh/index.ts'
import { Attacker } from './ssh-attacker.ts'

/** What these tests use of ssh2, with what our patches add, which is undefined in a stock copy. */
export interface LoginRequest {
  readonly method: string
  readonly username: string
  readonly key: { readonly algo: string; readonly data: Buffer }
  readonly blob?: Buffer
  readonly requestedAlgo?: string
  readonly keyBlob?: Buffer
  readonly rawSignature?: Buffer
  readonly signedData?: Buffer
  readonly sessionId?: Buffer
  accept(): void
  reject(): void
  prompt(text: string): void
}

type Handler = (protocol: object, name: string, wantReply: boolean, data: unknown) => void

export interface ServerSide {
  readonly _sock: Duplex
  readonly _protocol: {
    readonly _handlers: { GLOBAL_REQUEST: Handler }
    _cipher: { encrypt(packet: Buffer): void }
    _packetRW: {
      write: { allocStart: number; alloc(size: number): Buffer; finalize(p: Buffer): Buffer }
    }
  }
  on(event: 'authentication', listener: (request: LoginRequest) => void): this
  on(event: 'ready' | 'end' | 'handshake', listener: () => void): this
  on(event: 'error', listener: (err: Error) => void): this
  end(): void
}

interface ServerFace {
  injectSocket(socket: Duplex): void
}

interface ClientFace extends Omit<ServerSide, 'on'> {
  on(event: string, listener: (...args: never[]) => void): this
  connect(config: object): void
}

export interface Ssh2 {
  readonly patchSeries?: number
  readonly Server: new (config: object, onClient: (client: ServerSide) => void) => ServerFace
  readonly Client: new () => ClientFace
}

/** ssh2 from a directory, apart from every other copy. */
export function loadSsh2(path: string): Ssh2 {
  return createRequire(import.meta.url)(path)
}

/** Not by ssh2's own generator, which loses a leading zero byte: one key in 256 cannot be read. */
export function makeHostKeys(): string[] {
  return [formatOpenSshPrivateKey(generateKeyPairSync('ed25519').privateKey)]
}

export interface Lab {
  readonly attacker: Attacker
  /** What the server took for requests to log in. */
  readonly requests: LoginRequest[]
  readonly errors: Error[]
  /** Whether it ever let the attacker in. */
  readonly loggedIn: () => boolean
}

/** A server of this library with one attacker on it, in this process: whole chunks arrive whole. */
export function openLab(
  ssh2: Ssh2,
  onRequest: (request: LoginRequest, client: ServerSide) => void = () => {},
  onClient: (client: ServerSide) => void = () => {},
  config: object = {},
): Lab {
  const requests: LoginRequest[] = []
  const errors: Error[] = []
  let isIn = false
  const hostKeys = makeHostKeys()
  const server = new ssh2.Server({ ...config, hostKeys }, (client) => {
    client.on('error', (err) => errors.push(err))
    client.on('ready', () => {
      isIn = true
    })
    client.on('authentication', (request) => {
      requests.push(request)
      onRequest(request, client)
    })
    onClient(client)
  })
  const [ours, theirs] = duplexPair()
  ours.on('error', () => {})
  server.injectSocket(ours)
  return { attacker: new Attacker(theirs), requests, errors, loggedIn: () => isIn }
}
