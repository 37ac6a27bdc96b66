import { Fifo } from '../../fifo.ts'
import { encodeFrame, type MessagePipe } from '../wire/message-pipe.ts'
import type { FromWorker } from '../wire/messages.ts'

/** In bytes: what an urgent message may find before it, besides what the system holds. */
const aheadMax = 65_536

interface Letter {
  readonly frame: Buffer
  readonly sent: (() => void) | undefined
}

/**
 * The messages of a worker on their way into the pipe, in their order. The main process reads them at its
 * own pace, and they wait here: so an answer to a ping overtakes them, and no user's messages make a worker
 * look as if it hung.
 */
export class Outbox {
  readonly #pipe: Pick<MessagePipe, 'unread' | 'send' | 'sendFrame'>
  readonly #letters = new Fifo<Letter>()
  #isPassing = false

  constructor(pipe: Pick<MessagePipe, 'unread' | 'send' | 'sendFrame'>) {
    this.#pipe = pipe
  }

  /** sent is called when the system has the message, or the main process has ended. */
  send(message: FromWorker, sent?: () => void): void {
    this.sendFrame(encodeFrame(message), sent)
  }

  sendFrame(frame: Buffer, sent?: () => void): void {
    this.#letters.push({ frame, sent })
    this.#pass()
  }

  /** Before all that waits here. */
  sendFirst(message: Extract<FromWorker, { type: 'pong' | 'cut' }>): void {
    this.#pipe.send(message)
  }

  #pass(): void {
    if (this.#isPassing) return
    this.#isPassing = true
    while (this.#pipe.unread <= aheadMax) {
      const letter = this.#letters.shift()
      if (letter === undefined) break
      this.#pipe.sendFrame(letter.frame, () => {
        letter.sent?.()
        this.#pass()
      })
    }
    this.#isPassing = false
  }
}
