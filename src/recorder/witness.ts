import { createHash } from 'node:crypto'

/** A recording at one moment: the digest of its first bytes. */
export interface RecordingPoint {
  /** How many bytes were in the file, all of them durable. */
  readonly bytes: number
  /** Of these bytes, in hex. */
  readonly sha256: string
}

/** The memory of a witness, in its stored form. */
export interface KeptWitness {
  /** The distance of each point from the one before, as LEB128. */
  readonly offsets: Buffer
  /** The digest of all points, one after the other, in hex. */
  readonly chain: string
  /** Of the last point. */
  readonly bytes: number
}

/** Whether a file agrees with its witness. */
export type Evidence = 'intact' | 'altered'

const digestShape = /^[0-9a-f]{64}$/
const noPoints = Buffer.alloc(32).toString('hex')
/** After this number of points, one a minute is enough. */
const pointsMax = 20_000
const sparseMs = 60_000

/**
 * The memory of a process about a recording that another process writes.
 *
 * The writing process reports points to it. A point cannot be taken back: each is folded into a
 * chain, and a file satisfies the chain only if it begins with the exact bytes of every point. So a
 * writer that is taken over cannot change bytes before its last reported point.
 */
export class RecordingWitness {
  #offsets: number[] = []
  #points = 0
  #chain = noPoints
  #bytes = 0
  #sha256 = ''
  #atMs = -Infinity

  /** How many bytes the last point covers. */
  get bytes(): number {
    return this.#bytes
  }

  /** False for a malformed point, or one not beyond the last: it changes nothing. */
  add({ bytes, sha256 }: RecordingPoint, nowMs = performance.now()): boolean {
    if (!Number.isSafeInteger(bytes) || bytes <= this.#bytes || !digestShape.test(sha256)) {
      return false
    }
    if (this.#points >= pointsMax && nowMs - this.#atMs < sparseMs) return false
    pushNumber(this.#offsets, bytes - this.#bytes)
    this.#points += 1
    this.#chain = fold(this.#chain, bytes, sha256)
    this.#bytes = bytes
    this.#sha256 = sha256
    this.#atMs = nowMs
    return true
  }

  /** False if a recording with this end cannot be the witnessed one. */
  allows({ bytes, sha256 }: RecordingPoint): boolean {
    return bytes > this.#bytes || (bytes === this.#bytes && sha256 === this.#sha256)
  }

  /** undefined before the first point. */
  get kept(): KeptWitness | undefined {
    if (this.#points === 0) return undefined
    return { offsets: Buffer.from(this.#offsets), chain: this.#chain, bytes: this.#bytes }
  }
}

/** Compares a file with a witness, in one pass over its bytes. */
export class WitnessCheck {
  readonly #kept: KeptWitness
  readonly #points: readonly number[]
  readonly #hash = createHash('sha256')
  #chain = noPoints
  #bytes = 0
  #next = 0

  constructor(kept: KeptWitness) {
    this.#kept = kept
    this.#points = parseOffsets(kept.offsets)
  }

  push(chunk: Buffer): void {
    for (let rest = chunk; rest.length > 0; ) {
      const point = this.#points[this.#next]
      if (point === undefined) return
      const length = Math.min(rest.length, point - this.#bytes)
      this.#hash.update(rest.subarray(0, length))
      this.#bytes += length
      rest = rest.subarray(length)
      if (this.#bytes < point) continue
      this.#chain = fold(this.#chain, point, this.#hash.copy().digest('hex'))
      this.#next += 1
    }
  }

  /** A file that is shorter than the last point is altered too: each point was durable. */
  result(): Evidence {
    const isWhole = this.#points.length > 0 && this.#next === this.#points.length
    return isWhole && this.#chain === this.#kept.chain ? 'intact' : 'altered'
  }
}

/** Compares a stream with a witness. */
export async function checkWitness(
  stream: AsyncIterable<Buffer>,
  kept: KeptWitness,
): Promise<Evidence> {
  const check = new WitnessCheck(kept)
  for await (const chunk of stream) check.push(chunk)
  return check.result()
}

function fold(chain: string, bytes: number, sha256: string): string {
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(BigInt(bytes))
  return createHash('sha256').update(chain, 'hex').update(size).update(sha256, 'hex').digest('hex')
}

function pushNumber(into: number[], value: number): void {
  let rest = value
  while (rest >= 128) {
    into.push((rest % 128) | 128)
    rest = Math.floor(rest / 128)
  }
  into.push(rest)
}

/** The absolute offsets; those of a spoiled list end where it is spoiled, so that no file satisfies it. */
function parseOffsets(offsets: Buffer): number[] {
  const points: number[] = []
  let value = 0
  let scale = 1
  let at = 0
  for (const byte of offsets) {
    value += (byte & 127) * scale
    scale *= 128
    if (byte >= 128) continue
    at += value
    if (value === 0 || !Number.isSafeInteger(at)) return []
    points.push(at)
    value = 0
    scale = 1
  }
  return points
}
