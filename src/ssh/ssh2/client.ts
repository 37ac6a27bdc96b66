import type { Duplex } from 'node:stream'
import ssh2, { type Client, type SignOptions } from 'ssh2'
import type { CodedError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { type HostProof, readProvenLogin } from '../host-proof.ts'
import { formatPublicKey, parsePublicKeyBlob } from '../public-key.ts'
import { Reader } from '../wire.ts'
import { clientAlgorithms } from './algorithms.ts'
import { assertCertified } from './certified.ts'
import { type Connection, type Keepalive, SshConnection } from './connection.ts'
import {
  UpstreamAuth,
  UpstreamClosed,
  UpstreamHostKey,
  UpstreamHostProof,
  UpstreamProtocol,
  UpstreamTimeout,
} from './errors.ts'
import { announcement } from './host-key-proof.ts'
import type { RekeyLimits } from './key-exchanges.ts'
import { assertPatched } from './library.ts'
import { encodeIgnore } from './messages.ts'

/** A key that signs, wherever its private half may be. */
export interface SigningKey {
  /** As the wire has it. */
  readonly publicKey: Buffer
  /** A certificate for it, as the wire has it, to log in with instead of the key itself. */
  readonly certificate?: Buffer
  /**
   * Signs the RFC 4252 section 7 data; the answer is the whole signature, with its algorithm. The
   * proof is the server's, of the key exchange that the data is about.
   */
  sign(data: Buffer, algorithm: string, proof: HostProof): Promise<Buffer>
}

export interface UpstreamOptions {
  /** Connected, and ours from here on: it is destroyed when the login fails. */
  readonly socket: Duplex
  readonly user: string
  /** Types to ask for, of keys on record or, as `ssh-ed25519-cert-v01@openssh.com`, of certificates. */
  readonly hostKeyTypes: readonly string[]
  /**
   * There is no login without an accepted host key. A certificate comes here whole. Before this,
   * only its key was used, because it must have signed the key exchange.
   */
  readonly verifyHostKey: (blob: Buffer) => Promise<boolean>
  readonly key: SigningKey
  readonly handshakeMs: number
  /** When keys are exchanged anew, if not as usual. */
  readonly rekey?: Partial<RekeyLimits>
  /** Other than a peer's 15 minutes of silence. */
  readonly keepalive?: Keepalive
  readonly log: Log
}

/**
 * How many channels a target may open to us. Channels that were not requested are never accepted.
 */
const channelsMax = 64
const ident = 'VaultTerm'

/**
 * Logs in to a target. Rejects with ERR_UPSTREAM_HOST_KEY, _HOST_PROOF, _AUTH, _TIMEOUT, _CLOSED or
 * _PROTOCOL; the socket is destroyed then. Throws TypeError for a malformed key, or a certificate
 * of another key.
 */
export function connectUpstream(options: UpstreamOptions): Promise<Connection> {
  assertPatched()
  const { socket, user, key, log } = options
  let signing: unknown
  const client: Client = new ssh2.Client()
  const agent = new (signerAgent(key, {
    proof: () => proofOf(client),
    refused: (err) => {
      signing = err
    },
    lost: (err) => fail(new UpstreamClosed(err)),
  }))()
  const { promise, resolve, reject } = Promise.withResolvers<Connection>()
  let connection: SshConnection | undefined
  let phase: 'exchange' | 'login' | 'ready' | 'failed' = 'exchange'

  const fail = (error: CodedError) => {
    if (phase === 'ready' || phase === 'failed') return
    phase = 'failed'
    clearTimeout(timer)
    socket.destroy()
    reject(error)
  }
  const timer = setTimeout(() => fail(new UpstreamTimeout()), options.handshakeMs)

  // The key that was accepted once is accepted again without asking, when keys are exchanged anew.
  let accepted: Buffer | undefined
  const hostVerifier = (blob: Buffer, answer: (accepted: boolean) => void) => {
    if (accepted !== undefined) return answer(accepted.equals(blob))
    const verify = async () => options.verifyHostKey(blob)
    verify().then(
      (good) => {
        if (phase !== 'exchange') return
        // Only `true` accepts: a lost promise or an error must never count as a yes.
        if (good !== true) return fail(new UpstreamHostKey())
        accepted = Buffer.from(blob)
        try {
          answer(true)
        } catch (err) {
          fail(new UpstreamClosed(err))
        }
      },
      () => fail(new UpstreamHostKey()),
    )
  }

  let tried = false
  /**
   * OpenSSH announces its host keys right after the login. Then it waits (Nagle) for an
   * acknowledgement before it confirms the first channel, and an acknowledgement without data comes
   * only after 40 ms. An IGNORE message carries it at once.
   */
  let announced = false

  client.on('error', (err: Error & { level?: string }) => {
    log.debug({ err }, 'upstream error')
    connection?.died(err)
    if (signing instanceof UpstreamHostProof) fail(signing)
    else if (err.level === 'client-authentication') fail(new UpstreamAuth(signing ?? err))
    else if (phase === 'exchange' && (err.level === 'handshake' || err.level === 'protocol')) {
      fail(new UpstreamProtocol(err))
    } else fail(new UpstreamClosed(err))
    socket.destroy()
  })
  client.on('close', () => fail(new UpstreamClosed()))
  client.on('end', () => connection?.died())
  client.on('handshake', () => {
    if (phase !== 'exchange') return connection?.exchanged()
    phase = 'login'
    connection = new SshConnection({
      protocol: client._protocol,
      socket,
      peerIdent: String(client._remoteVer ?? ''),
      channelsMax,
      rekey: options.rekey,
      ...(options.keepalive && { keepalive: options.keepalive }),
      answer: (request) => {
        if (!announced && request.name === announcement) {
          announced = true
          connection?.send(encodeIgnore())
        }
        return false
      },
      log,
    })
  })
  client.on('ready', () => {
    if (phase !== 'login' || connection === undefined) return
    phase = 'ready'
    clearTimeout(timer)
    connection.start()
    resolve(connection)
  })

  try {
    client.connect({
      sock: socket,
      username: user,
      ident,
      algorithms: clientAlgorithms(options.hostKeyTypes),
      readyTimeout: 0,
      keepaliveInterval: 0,
      hostVerifier,
      authHandler: (_methodsLeft, partialSuccess, next) => {
        // A second factor is for people: this login has no person behind it.
        if (tried || partialSuccess) return next(false)
        tried = true
        next({ type: 'agent', username: user, agent })
      },
    })
  } catch (err) {
    fail(new UpstreamProtocol(err))
  }
  return promise
}

/** The host key that the server showed, and its signature of the first key exchange. */
function proofOf({ _protocol: { _hostKeyBlob: hostKey, _hostSignature: signature } }: Client) {
  if (hostKey === undefined || signature === undefined) {
    throw new Error('a login is signed after the key exchange')
  }
  return { hostKey, signature }
}

interface SignerEvents {
  proof(): HostProof
  /** There is no signature. */
  refused(err: unknown): void
  /** There is one, and ssh2 does not take it: the connection has gone. */
  lost(err: unknown): void
}

/** The agent that ssh2 asks for signatures: it never sees a private key. */
function signerAgent(key: SigningKey, { proof, refused, lost }: SignerEvents) {
  const parsed = parsePublicKeyBlob(key.publicKey)
  if (!('key' in parsed)) throw new TypeError('the key to sign with is not a public key')
  const { type } = parsed.key
  const { certificate } = key
  if (certificate !== undefined) assertCertified(parsed.key, certificate)
  const plain = ssh2.utils.parseKey(formatPublicKey(parsed.key))
  let signed = false
  const shown = certificate === undefined ? plain : ssh2.utils.withCertificate(plain, certificate)
  return class extends ssh2.BaseAgent {
    // To see whether it accepts a certificate, a server verifies it (OpenSSH does it twice), and
    // does it all again for the signature. So an Ed25519 certificate is signed at once. Other keys are
    // offered first: a server may refuse them, and then no signature is wasted.
    override readonly signsAtOnce = certificate !== undefined && type === 'ssh-ed25519'

    override getIdentities(done: (err: Error | undefined, keys?: readonly unknown[]) => void) {
      done(undefined, [shown])
    }

    override sign(
      _key: unknown,
      data: Buffer,
      { hash }: SignOptions,
      done: (err: Error | undefined, signature?: Buffer) => void,
    ) {
      const algorithm = type === 'ssh-rsa' ? rsaAlgorithm(hash) : type
      if (algorithm === undefined) {
        return done(new Error('the target accepts only RSA signatures with SHA-1'))
      }
      // A target that takes each signature for a question would have us sign without end.
      if (signed) return done(new Error('the target asked for a second signature'))
      signed = true
      // ssh2 takes host signatures that the signer does not take, for example with bytes behind them.
      const hostProof = proof()
      if (readProvenLogin(data, hostProof) === undefined) {
        const unproven = new UpstreamHostProof()
        refused(unproven)
        return done(unproven)
      }
      const bareSignature = async () => {
        const reader = new Reader(await key.sign(data, algorithm, hostProof))
        // ssh2 writes the algorithm itself.
        reader.string()
        return reader.string()
      }
      bareSignature()
        .then(
          (signature) => done(undefined, signature),
          (err: unknown) => {
            refused(err)
            done(err instanceof Error ? err : new Error('the signature was refused'))
          },
        )
        .catch(lost)
    }
  }
}

/** A target that can do no better than SHA-1 gets no signature. */
function rsaAlgorithm(hash: string | undefined): string | undefined {
  if (hash === 'sha512') return 'rsa-sha2-512'
  return hash === 'sha256' ? 'rsa-sha2-256' : undefined
}
