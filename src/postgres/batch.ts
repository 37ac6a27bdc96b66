import pg from 'pg'
import { prepareValue } from 'pg/lib/utils.js'

/** One statement of a batch. */
export interface Statement {
  readonly text: string
  readonly values: readonly unknown[]
  /** Under which the connection keeps it prepared. */
  readonly name: string | undefined
}

/** The parts of an answer that pg passes to a query as they come. Its types leave these out. */
declare module 'pg' {
  interface Query {
    name: string | undefined
    readonly text: string
    values: readonly unknown[]
    types: pg.CustomTypesConfig
    queryMode: 'extended'
    callback: Answered
    readonly _result: { _types: pg.CustomTypesConfig }
    _getRows(connection: pg.Connection): void
    handleRowDescription(message: unknown): void
    handleDataRow(message: unknown): void
    handleCommandComplete(message: unknown, connection: pg.Connection): void
    handleError(err: unknown, connection: pg.Connection): void
    handleReadyForQuery(connection: pg.Connection): void
  }
}

type Answered = (err: unknown, result: pg.QueryResult) => void
type Named = { submittedNamedStatements: { [name: string]: string } }

/** A query that has no end of its own. */
class Part extends pg.Query {
  /** pg copies a whole configuration by the descriptors of its fields, which is slow: so this gives it a text. */
  constructor({ text, values, name }: Statement, types: pg.CustomTypesConfig, answered: Answered) {
    super(text)
    this.values = values.map((value) => prepareValue(value))
    this.name = name
    this.queryMode = 'extended'
    this.callback = answered
    this.types = types
    this._result._types = types
  }

  override _getRows(connection: pg.Connection): void {
    connection.execute({ portal: '' }, true)
  }
}

/**
 * Statements that go to the server in one message, with one Sync at the end: when one fails, the
 * server skips all after it. (PostgreSQL's documentation, 54.2.4: Pipelining.)
 *
 * It is a Submittable of pg: `client.query(batch)` sends it.
 */
export class Batch implements pg.Submittable {
  /** Their answers, in order. Statements after a failed one fail with its error. */
  readonly answers: readonly Promise<pg.QueryResult>[]
  /** Milliseconds until the whole is given up. */
  readonly query_timeout: number | undefined
  /** pg wraps this to stop that timer. */
  callback: (err?: unknown) => void = () => {}
  readonly #parts: readonly Part[]
  readonly #rejects: readonly ((err: unknown) => void)[]
  #at = 0
  #isOver = false

  constructor(
    statements: readonly Statement[],
    types: pg.CustomTypesConfig,
    timeoutMs: number | undefined,
  ) {
    this.query_timeout = timeoutMs
    const parts: Part[] = []
    const rejects: ((err: unknown) => void)[] = []
    this.answers = statements.map((statement) => {
      const { promise, resolve, reject } = Promise.withResolvers<pg.QueryResult>()
      // A waiting caller gets the error; other promises must not end the process.
      promise.catch(() => {})
      parts.push(new Part(statement, types, (err, result) => (err ? reject(err) : resolve(result))))
      rejects.push(reject)
      return promise
    })
    this.#parts = parts
    this.#rejects = rejects
  }

  /** pg remembers by these that the server has parsed the statement that is being answered. */
  get name(): string | undefined {
    return this.#parts[this.#at]?.name
  }

  get text(): string | undefined {
    return this.#parts[this.#at]?.text
  }

  readonly submit = (connection: pg.Connection): void => {
    connection.stream.cork()
    try {
      for (const part of this.#parts) {
        const refused: unknown = part.submit(connection)
        if (refused === undefined || refused === null) continue
        // No part of it was sent, and no statement after it will be.
        this.#fail(refused, connection)
        break
      }
      connection.sync()
    } catch (err) {
      this.#fail(err, connection)
    } finally {
      connection.stream.uncork()
    }
  }

  handleRowDescription(message: unknown): void {
    this.#parts[this.#at]?.handleRowDescription(message)
  }

  handleDataRow(message: unknown): void {
    this.#parts[this.#at]?.handleDataRow(message)
  }

  handleCommandComplete(message: unknown, connection: pg.Connection): void {
    this.#parts[this.#at]?.handleCommandComplete(message, connection)
    this.#at++
  }

  handleError(err: unknown, connection: pg.Connection): void {
    this.#fail(err, connection)
    this.callback(err)
  }

  handleReadyForQuery(connection: pg.Connection): void {
    if (this.#at < this.#parts.length) {
      this.#fail(new Error('the server ended a batch before its end'), connection)
    }
    this.#settle(connection)
    this.callback()
  }

  #fail(err: unknown, connection: pg.Connection): void {
    if (this.#isOver) return
    const at = this.#at
    this.#settle(connection)
    const { submittedNamedStatements } = connection as unknown as Named
    for (const { name } of this.#parts.slice(at)) {
      // The server has skipped it: it is parsed at its next use.
      if (name !== undefined) delete submittedNamedStatements[name]
    }
    for (const reject of this.#rejects.slice(at)) reject(err)
  }

  /** Gives the answers that there are. */
  #settle(connection: pg.Connection): void {
    if (this.#isOver) return
    this.#isOver = true
    for (const part of this.#parts.slice(0, this.#at)) part.handleReadyForQuery(connection)
  }
}
