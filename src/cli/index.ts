/**
 * The command line: every operator command of the product.
 *
 * A command reads its arguments, calls a module, and prints; it holds no rules of its own. Data goes
 * to stdout and messages to stderr; `--json` prints one document. The exit status is 0 for done, 1 for
 * refused or failed, 2 for wrong usage.
 */

export type { CliDeps, CliProduct, Finding } from './deps.ts'
export { runCli } from './run.ts'
export type { Terminal } from './terminal.ts'
