import type pg from 'pg'
import { isBroken, translate } from './errors.ts'
import { statementName } from './statement-names.ts'

/** A transaction of one tenant. It may only read: a WriteTx is needed to change anything. */
export interface ReadTx {
  /** Exactly one row; anything else is a bug. */
  one<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row>
  /** One row or none. */
  maybe<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row | undefined>
  many<Row extends object>(text: string, values?: readonly unknown[]): Promise<Row[]>
}

export interface WriteTx extends ReadTx {
  /** Runs a statement for its effect; answers how many rows it touched. */
  run(text: string, values?: readonly unknown[]): Promise<number>
}

/** One transaction on one connection, until it is ended. */
export class Transaction implements WriteTx {
  readonly #client: pg.ClientBase
  readonly #writing: boolean
  #queue: Promise<unknown> = Promise.resolve()
  #ended = false
  #broken = false

  constructor(client: pg.ClientBase, writing: boolean) {
    this.#client = client
    this.#writing = writing
  }

  /** The connection is in an unknown state and must not be used again. */
  get broken(): boolean {
    return this.#broken
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
    return (await this.#query<Row>(text, values)).rows
  }

  async run(text: string, values: readonly unknown[] = []): Promise<number> {
    return (await this.#query(text, values)).rowCount ?? 0
  }

  /**
   * Starts the transaction. Nothing is sent before it is known that there is one: behind a `begin` that
   * failed, each statement would be a transaction of its own, of no tenant.
   */
  async begin(text: string, timeoutMs: number): Promise<void> {
    const query = { text, query_timeout: timeoutMs }
    try {
      await this.#answer<pg.QueryResult>(() => this.#client.query(query))
    } catch (err) {
      this.#broken = true
      throw err
    }
  }

  /** Runs a statement of the transaction itself; several may stand in one text. */
  control(text: string): Promise<readonly pg.QueryResult[]> {
    return this.#enqueue(async () => {
      const result: pg.QueryResult | pg.QueryResult[] = await this.#client.query(text)
      return Array.isArray(result) ? result : [result]
    })
  }

  /** Waits for statements that nobody awaited, and refuses further ones. */
  async end(): Promise<void> {
    // A statement sent later would run in whatever transaction, of whatever tenant, comes next.
    this.#ended = true
    await this.#queue.catch(() => {})
  }

  #query<Row extends object>(
    text: string,
    values: readonly unknown[],
  ): Promise<pg.QueryResult<Row>> {
    if (this.#ended) return Promise.reject(new Error(`the transaction is over: ${text}`))
    const name = statementName(text)
    return this.#enqueue(() =>
      this.#client.query<Row>({ ...(name !== undefined && { name }), text, values: [...values] }),
    )
  }

  #enqueue<T>(statement: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => this.#answer(statement))
    this.#queue = result.catch(() => {})
    return result
  }

  async #answer<T>(statement: () => Promise<T>): Promise<T> {
    try {
      return await statement()
    } catch (err) {
      this.#broken ||= isBroken(err)
      throw translate(err, this.#writing)
    }
  }
}
