import type pg from 'pg'
import { Batch, type Statement } from './batch.ts'
import { isBroken, translate } from './errors.ts'
import { statementName } from './statement-names.ts'
import { types } from './value-types.ts'

/** A transaction of one tenant. It may only read: a WriteTx is needed to change anything. */
export interface ReadTx {
  /** Exactly one row; anything else is a bug. */
  one<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row>
  /** One row, or undefined. */
  maybe<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row | undefined>
  many<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
  /**
   * The same transaction, which ends with the statements of this turn: they and the end go to the
   * server together. An error that is thrown later cannot undo them.
   */
  last(): ReadTx
}

export interface WriteTx extends ReadTx {
  last(): WriteTx
  /** Runs a statement for its effect; answers how many rows it touched. */
  run(text: string, values?: readonly unknown[]): Promise<number>
  /** Tells those who observe the database of a fact, once the transaction is known to have committed. */
  tell(fact: object): void
}

/** A statement that begins a transaction, with its values. */
export type Begin = readonly [text: string, ...values: unknown[]]

interface Waiting extends Statement {
  readonly answer: Promise<pg.QueryResult>
  resolve(result: pg.QueryResult): void
  reject(err: unknown): void
}

type Ask = (text: string, values: readonly unknown[]) => Promise<pg.QueryResult>

/** The statements that work may run on a transaction. */
class Asking implements WriteTx {
  readonly #ask: Ask
  readonly #last: () => WriteTx
  readonly #facts: object[]

  constructor(ask: Ask, last: () => WriteTx, facts: object[]) {
    this.#ask = ask
    this.#last = last
    this.#facts = facts
  }

  async one<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row> {
    const row = await this.maybe<Row>(text, values)
    if (row === undefined) throw new Error(`expected one row, got none: ${text}`)
    return row
  }

  async maybe<Row extends object>(
    text: string,
    values?: readonly unknown[],
  ): Promise<Row | undefined> {
    const rows = await this.many<Row>(text, values)
    if (rows.length > 1) throw new Error(`expected one row, got ${rows.length}: ${text}`)
    return rows[0]
  }

  async many<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    return (await this.#ask(text, values)).rows
  }

  async run(text: string, values: readonly unknown[] = []): Promise<number> {
    return (await this.#ask(text, values)).rowCount ?? 0
  }

  tell(fact: object): void {
    this.#facts.push(fact)
  }

  last(): WriteTx {
    return this.#last()
  }
}

/** The answers to more than two statements are not waited for longer than those to two. */
const patienceMax = 2

/**
 * One transaction on one connection, until it is ended.
 *
 * Statements of one turn of the event loop, without waiting for answers in between, go to the
 * server together, and so does the start with the first ones. If one statement fails, none after it
 * runs, now or later. A later `begin` would not help: each statement after it would be a
 * transaction of its own, without a tenant.
 */
export class Transaction {
  /** The handle that work gets. */
  readonly tx: WriteTx
  /** What is to be told once it has committed. */
  readonly facts: object[] = []
  readonly #client: pg.ClientBase
  readonly #writing: boolean
  /** The time limit for the answer to one statement; undefined: the connection's own. */
  readonly #answerMs: number | undefined
  /** Statements that run before all others. */
  #start: readonly Statement[] | undefined
  #waiting: Waiting[] = []
  #sending: Promise<void> | undefined
  #commit: Waiting | undefined
  #isCommitSent = false
  #ended = false
  #isOver = false
  #broken = false
  #heard = false
  #failure: unknown

  constructor(client: pg.ClientBase, writing: boolean, answerMs?: number) {
    this.#client = client
    this.#writing = writing
    this.#answerMs = answerMs
    const last = new Asking(
      (text, values) => {
        if (!this.#ended) this.#commit ??= newWaiting('commit')
        return this.#query(text, values)
      },
      () => last,
      this.facts,
    )
    this.tx = new Asking(
      (text, values) => this.#query(text, values),
      () => last,
      this.facts,
    )
  }

  /** The connection is in an unknown state and must not be used again. */
  get broken(): boolean {
    return this.#broken
  }

  /** The server has answered. */
  get heard(): boolean {
    return this.#heard
  }

  /** Starts the transaction with the first statements; nothing is sent before. */
  begin(statements: readonly Begin[]): void {
    this.#start = statements.map(([text, ...values]) => statementOf(text, values))
  }

  /**
   * Starts it now. Rejects when that takes longer: then neither it nor its connection can be used.
   */
  async started(timeoutMs: number): Promise<void> {
    this.#sending = this.#sendTogether([], timeoutMs).then(() => this.#send())
    await this.#sending
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Waits for statements that were not awaited, refuses further ones, and commits. */
  async commit(): Promise<void> {
    await this.#end()
    if (this.#failure !== undefined && !this.#isCommitSent) {
      throw new Error('work went on after a statement failed', { cause: this.#failure })
    }
    this.#commit ??= newWaiting('commit')
    this.#schedule()
    const { command } = await this.#commit.answer
    // Postgres answers COMMIT with ROLLBACK when a statement failed and work went on regardless.
    if (command !== 'COMMIT') throw new Error('work went on after a statement failed')
  }

  /** The same with a rollback. False when the connection must not be used again. */
  async rollback(): Promise<boolean> {
    if (!this.#isCommitSent) this.#commit = undefined
    await this.#end()
    if (this.#broken) return false
    // It has not begun, or Postgres has already rolled it back.
    if (this.#start !== undefined || this.#isOver) return true
    const rollback = newWaiting('rollback')
    await this.#sendTogether([rollback])
    return rollback.answer.then(
      () => true,
      () => false,
    )
  }

  async #end(): Promise<void> {
    // A statement sent later would run in the next transaction, possibly of another tenant.
    this.#ended = true
    await this.#sending
  }

  #query(text: string, values: readonly unknown[]): Promise<pg.QueryResult> {
    if (this.#ended) return Promise.reject(new Error(`the transaction is over: ${text}`))
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const waiting = newWaiting(text, values)
    this.#waiting.push(waiting)
    this.#schedule()
    return waiting.answer
  }

  #schedule(): void {
    // Other statements of this turn go with it.
    this.#sending ??= Promise.resolve().then(() => this.#send())
  }

  async #send(): Promise<void> {
    while (this.#waiting.length > 0 || this.#isCommitDue()) {
      const waiting = this.#waiting
      this.#waiting = []
      if (this.#commit !== undefined) {
        this.#ended = true
        this.#isCommitSent = true
        waiting.push(this.#commit)
      }
      await this.#sendTogether(waiting)
    }
    this.#sending = undefined
  }

  #isCommitDue(): boolean {
    return this.#commit !== undefined && !this.#isCommitSent
  }

  async #sendTogether(waiting: readonly Waiting[], timeoutMs?: number): Promise<void> {
    const start = this.#start ?? []
    const batch = this.#sent([...start, ...waiting], timeoutMs ?? this.#patienceMs(waiting.length))
    if (batch === undefined) {
      for (const { reject } of waiting) reject(this.#failure)
      return
    }
    this.#start = undefined
    const answers = await Promise.allSettled(batch.answers)
    for (const [at, answer] of answers.entries()) {
      const to = waiting[at - start.length]
      if (answer.status === 'fulfilled') {
        this.#heard = true
        this.#isOver ||= to !== undefined && to === this.#commit
        to?.resolve(answer.value)
        continue
      }
      // Without its start there is no transaction, to go on in or to undo.
      this.#broken ||= to === undefined || isBroken(answer.reason)
      const failure = translate(answer.reason, this.#writing)
      this.#failure ??= failure
      to?.reject(failure)
    }
  }

  /** Undefined when nothing was sent: an earlier statement failed, or a value cannot be sent. */
  #sent(statements: readonly Statement[], timeoutMs: number | undefined): Batch | undefined {
    const isRollback = statements.every(({ text }) => text === 'rollback')
    if (this.#broken || (this.#failure !== undefined && !isRollback)) return undefined
    try {
      const batch = new Batch(statements, types, timeoutMs)
      this.#client.query(batch)
      return batch
    } catch (err) {
      this.#failure = err
      return undefined
    }
  }

  #patienceMs(statements: number): number | undefined {
    return this.#answerMs && this.#answerMs * Math.min(Math.max(statements, 1), patienceMax)
  }
}

function statementOf(text: string, values: readonly unknown[] = []): Statement {
  return { text, values, name: statementName(text) }
}

function newWaiting(text: string, values: readonly unknown[] = []): Waiting {
  const { promise: answer, resolve, reject } = Promise.withResolvers<pg.QueryResult>()
  // A caller that awaits it gets the error; without one it is ignored.
  answer.catch(() => {})
  return { ...statementOf(text, values), answer, resolve, reject }
}
