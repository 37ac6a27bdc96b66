import { userInfo } from 'node:os'
import type { Actor } from '../auth/index.ts'
import type { CodedError } from '../errors.ts'
import type { Tenant } from '../tenant/index.ts'
import type { CliDeps, CliProduct } from './deps.ts'
import { printable, printableJson } from './printable.ts'
import { withProgress } from './progress.ts'
import { type Column, formatTable } from './table.ts'
import { ReaderGone, type Terminal, write } from './terminal.ts'

/** The terminal and the installation of one command. */
export class Context {
  readonly terminal: Terminal
  readonly deps: CliDeps
  /** The exit status of a command that did its work. Not 0 when it found a problem. */
  status = 0

  constructor(terminal: Terminal, deps: CliDeps) {
    this.terminal = terminal
    this.deps = deps
  }

  /** The operator who runs this command, by the system's user name. */
  get actor(): Actor {
    return { kind: 'operator', id: 'cli', name: operatorName() }
  }

  /** Opens the installation for as long as the work lasts. */
  async withProduct<T>(what: string, work: (product: CliProduct) => Promise<T>): Promise<T> {
    const product = await withProgress(this.terminal, 'opening the installation', () =>
      this.deps.open(`vaultterm ${what}`),
    )
    try {
      return await work(product)
    } finally {
      await product.close()
    }
  }

  /** The same with a tenant, found by its slug. */
  withTenant<T>(
    what: string,
    slug: string,
    work: (product: CliProduct, tenant: Tenant) => Promise<T>,
  ): Promise<T> {
    return this.withProduct(what, async (product) =>
      work(product, await product.tenants.find(slug)),
    )
  }

  async print(...lines: readonly string[]): Promise<void> {
    await write(this.terminal.stdout, `${lines.join('\n')}\n`)
  }

  async printJson(value: unknown): Promise<void> {
    await this.print(printableJson(value))
  }

  /** Prints a list: one document of JSON, or a table; `none` is the message for an empty one. */
  async printList<Row>(
    rows: readonly Row[],
    options: {
      readonly json: boolean | undefined
      readonly columns: readonly Column<Row>[]
      readonly toJson: (row: Row) => object
      readonly none: string
    },
  ): Promise<void> {
    if (options.json === true) return this.printJson(rows.map(options.toJson))
    if (rows.length === 0) return void this.terminal.stderr.write(`${options.none}\n`)
    await this.print(...formatTable(options.columns, rows))
  }

  /** Prints what a check found, and throws its failure, if it failed: also where the reader has gone. */
  async printCheck(failure: CodedError | undefined, print: () => Promise<void>): Promise<void> {
    try {
      await print()
    } catch (err) {
      if (failure === undefined || !(err instanceof ReaderGone)) throw err
    }
    if (failure !== undefined) throw failure
  }

  /** Prints the result of one act: as JSON, or as one line. */
  async printDone(json: boolean | undefined, value: object, line: string): Promise<void> {
    await (json === true ? this.printJson(value) : this.print(printable(line)))
  }
}

function operatorName(): string {
  try {
    return userInfo().username
  } catch {
    // A user id without an account, as in containers.
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}
