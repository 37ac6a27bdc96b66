/**
 * The command line: every operator command of the product.
 *
 * A command reads its arguments, asks a module, and prints: rules are elsewhere. Data goes to
 * stdout, words about it to stderr; `--json` is one document. The exit status is 0 for done, 1 for
 * refused or failed, 2 for wrong usage.
 */

export type { CliDeps, CliProduct, Finding } from './deps.ts'
export { runCli } from './run.ts'
