import { Fifo } from '../../fifo.ts'
import type { Lease } from './read-memory.ts'

/** Lends the memory that received bytes lie in. */
export interface Lender {
  /** Lends that many bytes of the last read; undefined when their memory is not reused. */
  lend(bytes: number): Lease | undefined
  letGo(lease: Lease, bytes: number): void
}

/** The received bytes that a channel has handed out and that were not consumed yet, in order. */
export class Loans {
  readonly #lender: Lender
  readonly #loans = new Fifo<{ readonly lease: Lease | undefined; bytes: number }>()

  constructor(lender: Lender) {
    this.#lender = lender
  }

  /** That many bytes of the last read are lent, or came as a copy. */
  add(bytes: number, isCopy: boolean): void {
    const lease = isCopy ? undefined : this.#lender.lend(bytes)
    const last = this.#loans.last
    if (last !== undefined && last.lease === lease) last.bytes += bytes
    else this.#loans.push({ lease, bytes })
  }

  /** The first bytes are released first, because output is consumed in order. */
  letGo(bytes: number): void {
    for (let left = bytes; left > 0; ) {
      const loan = this.#loans.first
      if (loan === undefined) return
      const part = Math.min(left, loan.bytes)
      if (loan.lease !== undefined) this.#lender.letGo(loan.lease, part)
      left -= part
      loan.bytes -= part
      if (loan.bytes === 0) this.#loans.shift()
    }
  }
}
