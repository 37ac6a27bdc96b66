import { EventEmitter } from 'node:events'
import type { Duplex } from 'node:stream'
import pg from 'pg'
import { DatabaseAnswerUnreadable } from './errors.ts'

export interface BoundedConfig extends pg.ClientConfig {
  /** Of one message of the server, which has one row at most. */
  readonly messageBytesMax?: number
}

/** Far above every row of ours, and below the longest string. */
export const messageBytesMax = 64 * 1024 * 1024

/** What of pg's connection its types leave out. */
interface Listening {
  attachListeners(answers: EventEmitter): void
}

/**
 * A client whose connection ends with an error where pg would end the process: pg reads an answer in a handler
 * of the socket, where nobody catches what it throws, as for a text that is longer than a string can be.
 */
export class BoundedClient extends pg.Client {
  constructor(config: BoundedConfig = {}) {
    forgetEnvironment()
    super(config)
    const { connection } = this as unknown as { readonly connection: Listening }
    const attach = connection.attachListeners.bind(connection)
    connection.attachListeners = (stream) => {
      const answers = new EventEmitter()
      attach(answers)
      pass(stream as Duplex, answers, new MessageLengths(config.messageBytesMax ?? messageBytesMax))
    }
  }
}

/**
 * pg takes from the environment what a URL leaves out, such as PGPORT, PGSSLMODE and PGBINARY. Those are
 * the settings of other programs for another server, and ours are in the URL.
 */
function forgetEnvironment(): void {
  for (const name of Object.keys(process.env)) if (name.startsWith('PG')) delete process.env[name]
}

/** Passes on what the server sends, until it is too large or cannot be read. */
function pass(stream: Duplex, answers: EventEmitter, lengths: MessageLengths): void {
  stream.on('data', (bytes: Buffer) => {
    // Some may still come of a connection that was given up.
    if (stream.destroyed) return
    try {
      lengths.check(bytes)
      answers.emit('data', bytes)
    } catch (err) {
      const isTold = err instanceof DatabaseAnswerUnreadable
      stream.destroy(isTold ? err : new DatabaseAnswerUnreadable('cannot be read', err))
    }
  })
  stream.on('end', () => answers.emit('end'))
}

const headBytes = 5

/**
 * Looks at the lengths of messages as they pass, before their bytes are kept. Each message has one byte for
 * its type, and four for its length, which counts these four. (PostgreSQL's documentation, 54.1.)
 */
class MessageLengths {
  readonly #max: number
  readonly #head = Buffer.alloc(headBytes)
  /** Bytes of a message's head that have come. */
  #known = 0
  /** Bytes of a message's body that are to come. */
  #left = 0

  constructor(max: number) {
    this.#max = max
  }

  /** Throws DatabaseAnswerUnreadable at the beginning of a message that is too large. */
  check(bytes: Buffer): void {
    for (let at = this.#skip(bytes, 0); at < bytes.length; at = this.#skip(bytes, at)) {
      const part = bytes.subarray(at, at + headBytes - this.#known)
      this.#head.set(part, this.#known)
      this.#known += part.length
      at += part.length
      if (this.#known < headBytes) return
      const length = this.#head.readUInt32BE(1)
      if (length < 4 || length > this.#max)
        throw new DatabaseAnswerUnreadable(`is too large: a message of ${length} bytes`)
      this.#known = 0
      this.#left = length - 4
    }
  }

  /** Where the body ends that is under way, or the bytes. */
  #skip(bytes: Buffer, at: number): number {
    const skipped = Math.min(this.#left, bytes.length - at)
    this.#left -= skipped
    return at + skipped
  }
}
