import { createPrivateKey, type KeyObject, sign } from 'node:crypto'
import ssh2 from 'ssh2'
import { Reader, WireError, Writer } from '../wire.ts'
import { hostKeyAlgorithms } from './algorithms.ts'
import type { GlobalRequest } from './global-requests.ts'
import type { ServerHostKey } from './host-key.ts'

/** The announcement of a server's keys, and a client's request for proof. */
export const announcement = 'hostkeys-00@openssh.com'
const proof = 'hostkeys-prove-00@openssh.com'

/** A client asks once for all that is new to it. */
const proofsMax = 2

interface Provable {
  readonly type: string
  readonly blob: Buffer
  readonly privateKey: KeyObject
}

/** Of the connection on which keys are proved. */
interface ProofPlace {
  readonly sessionId: Buffer
  /** The agreed host key algorithm. */
  readonly algorithm: string
}

/**
 * All host keys of a server, for clients that keep a list of them (OpenSSH's `UpdateHostKeys`):
 * they learn the next key while they can still check it by a known one. PROTOCOL section 2.5.
 */
export class HostKeyProver {
  /** Every key as the wire has it. */
  readonly announced: Buffer
  readonly #keys: readonly Provable[]

  constructor(hostKeys: readonly ServerHostKey[]) {
    this.#keys = hostKeys.map(({ privateKey, publicKey: { type, blob } }) => ({
      type,
      blob,
      privateKey: createPrivateKey(ssh2.utils.parseKey(privateKey).getPrivatePEM()),
    }))
    const writer = new Writer()
    for (const { blob } of this.#keys) writer.string(blob)
    this.announced = writer.build()
  }

  /** Answers one connection's requests for proof. False for every other request. */
  forConnection(place: () => ProofPlace | undefined): (request: GlobalRequest) => boolean {
    let proofs = 0
    return (request) => {
      if (request.name !== proof) return false
      const where = place()
      const signatures =
        where === undefined || ++proofs > proofsMax ? undefined : this.#prove(request, where)
      request.reply(signatures !== undefined, signatures)
      return true
    }
  }

  /** A signature by each of the keys that are asked for; undefined when one of them is not ours. */
  #prove({ payload }: GlobalRequest, { sessionId, algorithm }: ProofPlace): Buffer | undefined {
    const keys = this.#find(payload)
    if (keys === undefined) return undefined
    const writer = new Writer()
    for (const key of keys) {
      const data = new Writer().text(proof).string(sessionId).string(key.blob).build()
      writer.string(signed(key, data, algorithm))
    }
    return writer.build()
  }

  /** Each key at most once: a signature costs us more than the request costs the client. */
  #find(payload: Buffer): ReadonlySet<Provable> | undefined {
    const found = new Set<Provable>()
    try {
      const reader = new Reader(payload)
      while (reader.left > 0) {
        const blob = reader.string()
        const key = this.#keys.find((one) => one.blob.equals(blob))
        if (key === undefined || found.has(key)) return undefined
        found.add(key)
      }
    } catch (err) {
      if (err instanceof WireError) return undefined
      throw err
    }
    return found.size > 0 ? found : undefined
  }
}

/** The whole signature: the algorithm's name and its output. */
function signed({ type, privateKey }: Provable, data: Buffer, agreed: string): Buffer {
  // RSA signs as it did in the key exchange, where it did.
  const names = hostKeyAlgorithms(type)
  const algorithm = names.find((name) => name === agreed) ?? names[0] ?? type
  const bare = sign(hashOf(algorithm), data, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  if (!algorithm.startsWith('ecdsa-')) return new Writer().text(algorithm).string(bare).build()
  const half = bare.length / 2
  const pair = new Writer().mpint(bare.subarray(0, half)).mpint(bare.subarray(half)).build()
  return new Writer().text(algorithm).string(pair).build()
}

function hashOf(algorithm: string): string | null {
  switch (algorithm) {
    case 'ssh-ed25519':
      return null
    case 'rsa-sha2-512':
    case 'ecdsa-sha2-nistp521':
      return 'sha512'
    case 'ecdsa-sha2-nistp384':
      return 'sha384'
    default:
      return 'sha256'
  }
}
