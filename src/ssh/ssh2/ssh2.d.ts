/** The part of ssh2 that we use, with the faces that our patch series adds to it. */
declare module 'ssh2' {
  import type { EventEmitter } from 'node:events'
  import type { Duplex } from 'node:stream'
  import type { BoundExchange } from '../bound-exchange.ts'

  /** The transport of one connection. */
  export interface Protocol {
    takeConnection(
      onMessage: (payload: Buffer) => void,
      onExchange: () => void,
      onUnimplemented: (packetNumber: number) => void,
    ): void
    /** Lets the other side send packets of up to so many bytes from now on. */
    admitPackets(bytes: number): void
    /** Changes with every packet that comes. */
    readonly packetNumber: number
    /** Of the packet that is sent next; undefined while it would wait for the end of a key exchange. */
    readonly nextPacketNumber: number | undefined
    readonly exchangingKeys: boolean
    /** Puts this cookie of 16 bytes into our first KEXINIT: call it before that is sent. */
    bindExchange(cookie: Buffer): void
    /** The hash of the first key exchange by name, and its input, once it is computed. */
    readonly boundExchange: BoundExchange | undefined
    forgetBoundExchange(): void
    /** Of the first key exchange, once that is done. */
    readonly sessionId: Buffer | undefined
    /** The host key that the server showed at the first key exchange, and its signature. */
    readonly _hostKeyBlob: Buffer | undefined
    readonly _hostSignature: Buffer | undefined
    sendPayload(payload: Buffer, bypass?: boolean): void
    channelData(channel: number, data: Buffer): void
    channelExtData(channel: number, data: Buffer, kind: number): void
    holds(memory: ArrayBufferLike): boolean
    /** Whichever it is: what it keeps of a packet that is not complete. */
    readonly _decipher?: { readonly _packet?: Uint8Array | null }
    rekey(): void
    cleanup(): void
  }

  export interface Algorithms {
    readonly kex: readonly string[]
    readonly serverHostKey: readonly string[]
    readonly cipher: readonly string[]
    readonly hmac: readonly string[]
    readonly compress: readonly string[]
  }

  /** The agreed algorithms of a key exchange. */
  export interface Negotiated {
    readonly serverHostKey: string
  }

  export interface AuthContext {
    readonly username: string
    readonly method: string
    accept(): void
    reject(methodsLeft?: readonly string[]): void
  }

  export interface PublicKeyContext extends AuthContext {
    readonly method: 'publickey'
    /** Undefined for an offer. */
    readonly signature: Buffer | undefined
    /** The whole signature, as on the wire: the algorithm's name and its output. */
    readonly rawSignature: Buffer | undefined
    /** The signed data: RFC 4252 section 7. */
    readonly blob: Buffer | undefined
    /** As the request names it. */
    readonly requestedAlgo: string
    /** The host key that the request is bound to; undefined for a plain one. */
    readonly boundHostKey: Buffer | undefined
    /**
     * The host key that we showed at the first key exchange: a certificate, if that was agreed on.
     */
    readonly shownHostKey: Buffer
    readonly key: { readonly algo: string; readonly data: Buffer }
  }

  /** One connection to our server. */
  export interface IncomingClient extends EventEmitter {
    readonly _protocol: Protocol
    readonly _sock: Duplex
  }

  export interface ServerConfig {
    readonly hostKeys: readonly {
      readonly key: string
      readonly certificate: Buffer | undefined
    }[]
    readonly ident: string
    readonly algorithms: Algorithms
    readonly keepaliveInterval: number
  }

  export class Server extends EventEmitter {
    constructor(config: ServerConfig)
    injectSocket(socket: Duplex): void
    static KEEPALIVE_CLIENT_INTERVAL: number
  }

  export interface ClientConfig {
    readonly sock: Duplex
    readonly username: string
    readonly ident: string
    readonly algorithms: Algorithms
    readonly readyTimeout: number
    readonly keepaliveInterval: number
    readonly hostVerifier: (key: Buffer, answer: (accepted: boolean) => void) => void
    readonly authHandler: (
      methodsLeft: readonly string[] | null,
      partialSuccess: boolean,
      next: (method: object | false) => void,
    ) => void
  }

  export class Client extends EventEmitter {
    readonly _protocol: Protocol
    readonly _remoteVer: string | undefined
    connect(config: ClientConfig): this
  }

  export interface SignOptions {
    readonly hash?: string
  }

  /** An agent: names keys, and signs with them wherever they are. */
  export class BaseAgent {
    /** Signs without the server having been asked first whether it takes the key. */
    readonly signsAtOnce: boolean
    getIdentities(done: (err: Error | undefined, keys?: readonly unknown[]) => void): void
    sign(
      key: unknown,
      data: Buffer,
      options: SignOptions,
      done: (err: Error | undefined, signature?: Buffer) => void,
    ): void
  }

  export const patchSeries: number | undefined
  export const utils: {
    parseKey(text: string): { getPrivatePEM(): string }
    /** The same key, which shows this certificate instead of itself. */
    withCertificate(key: object, certificate: Buffer): object
  }

  const ssh2: {
    readonly patchSeries: number | undefined
    readonly nativeCiphers: boolean
    readonly Server: typeof Server
    readonly Client: typeof Client
    readonly BaseAgent: typeof BaseAgent
    readonly utils: typeof utils
  }
  export default ssh2
}
