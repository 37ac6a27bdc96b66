import {
  createHash,
  createPublicKey,
  decapsulate,
  diffieHellman,
  generateKeyPairSync,
} from 'node:crypto'
import { Writer } from '../../src/ssh/wire.ts'

/** A client's half of a key exchange. */
export interface Exchange {
  /** What the client sends. */
  readonly mine: Buffer
  /** K, from what the server sends, in the form in which it is hashed. */
  agree(theirs: Buffer): Buffer
}

const x25519Bytes = 32
const ciphertextBytes = 1088

/** RFC 8731. */
export function x25519Exchange(): Exchange {
  const { mine, agree } = x25519()
  return { mine, agree: (theirs) => new Writer().mpint(agree(theirs)).build() }
}

/** draft-ietf-sshm-mlkem-hybrid-kex, of which each part can be got wrong on purpose. */
export function hybridExchange({
  combine = (quantum: Buffer, classical: Buffer) => sha256(quantum, classical),
  encode = (secret: Buffer) => new Writer().string(secret).build(),
} = {}): Exchange {
  const kem = generateKeyPairSync('ml-kem-768')
  const classical = x25519()
  const { pub } = kem.publicKey.export({ format: 'jwk' })
  return {
    mine: Buffer.concat([Buffer.from(String(pub), 'base64url'), classical.mine]),
    agree(theirs) {
      const quantum = decapsulate(kem.privateKey, theirs.subarray(0, ciphertextBytes))
      return encode(combine(quantum, classical.agree(theirs.subarray(ciphertextBytes))))
    },
  }
}

function x25519() {
  const pair = generateKeyPairSync('x25519')
  const { x } = pair.publicKey.export({ format: 'jwk' })
  return {
    mine: Buffer.from(String(x), 'base64url'),
    agree(theirs: Buffer): Buffer {
      const key = {
        kty: 'OKP',
        crv: 'X25519',
        x: theirs.subarray(0, x25519Bytes).toString('base64url'),
      }
      const publicKey = createPublicKey({ key, format: 'jwk' })
      return diffieHellman({ privateKey: pair.privateKey, publicKey })
    },
  }
}

function sha256(...parts: readonly Buffer[]): Buffer {
  return createHash('sha256').update(Buffer.concat(parts)).digest()
}
