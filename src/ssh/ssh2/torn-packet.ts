import { type AtHand, ReadRoom } from './read-room.ts'

/** The usual packets are shorter: what every connection may keep of one. */
const usualBytes = 64 * 1024
/**
 * Those of the process, of 1 MiB at most: a long command, and nothing else, has such a packet. It may take as
 * long as a silent peer is waited for.
 */
export const tornPackets = new ReadRoom(64, 15 * 60_000)

/** A large packet that has not come as a whole: its peer need not send the rest, and we keep what there is. */
export class TornPacket implements AtHand {
  user = ''
  usedMs = 0
  readonly #room: ReadRoom
  readonly #whose: () => string
  readonly #cut: () => void
  #isIn = false

  /** `cut` ends its connection. */
  constructor(whose: () => string, cut: () => void, room = tornPackets) {
    this.#whose = whose
    this.#cut = cut
    this.#room = room
  }

  /** After each read: so many bytes are kept for a packet that is not complete. */
  keeps(bytes: number): void {
    if (bytes <= usualBytes) return this.end()
    this.usedMs = performance.now()
    if (this.#isIn) return
    this.user = this.#whose()
    this.#isIn = this.#room.makeRoomFor(this.user) && this.#room.add(this)
    if (!this.#isIn) this.#cut()
  }

  giveUp(): boolean {
    this.end()
    this.#cut()
    return true
  }

  end(): void {
    if (this.#isIn) this.#room.delete(this)
    this.#isIn = false
  }
}
