import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Command, CommanderError } from 'commander'
import { z } from 'zod'
import { adminCommands } from './commands/admin.ts'
import { auditCommands } from './commands/audit.ts'
import { caCommands } from './commands/ca.ts'
import { grantCommands } from './commands/grant.ts'
import { jobCommands } from './commands/job.ts'
import { keyCommands } from './commands/key.ts'
import { serverCommands } from './commands/server.ts'
import { sessionCommands } from './commands/session.ts'
import { targetCommands } from './commands/target.ts'
import { tenantCommands } from './commands/tenant.ts'
import { userCommands } from './commands/user.ts'
import { vaultCommands } from './commands/vault.ts'
import { webLoginCommand } from './commands/web-login.ts'
import { Context } from './context.ts'
import type { CliDeps } from './deps.ts'
import { failureOf, WrongUsage } from './errors.ts'
import { isPipeError, ReaderGone, type Terminal } from './terminal.ts'

const about = `A multi-tenant SSH bastion: ssh TENANT@BASTION reaches a target with a key that
never leaves the vault, and the session is recorded.

Settings are environment variables: see docs/operations/commands.md.`

/** Of package.json, which lies above src/ and dist/ alike. */
const { version } = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(resolve(import.meta.dirname, '../../package.json'), 'utf8')))
const answered = ['commander.helpDisplayed', 'commander.version']

/** Runs one command line and returns the exit status. Never throws. */
export async function runCli(
  argv: readonly string[],
  terminal: Terminal,
  deps: CliDeps,
): Promise<number> {
  // A reader that goes away must not become an uncaught error; write() notices.
  terminal.stdout.on('error', () => {})
  const context = new Context(terminal, deps)
  const program = new Command('vaultterm').description(about).version(version, '--version')
  for (const add of commands) add(program, context)
  let failing = program
  setUp(program, terminal, (command) => {
    failing = command
  })
  try {
    requireText(argv)
    if (argv.length === 0) program.help({ error: true })
    await program.parseAsync([...argv], { from: 'user' })
    return context.status
  } catch (err) {
    if (err instanceof ReaderGone || isPipeError(err)) return 0
    // Either the user asked for help or the version, or gave no command and was shown the help.
    if (err instanceof CommanderError && answered.includes(err.code)) return 0
    if (err instanceof CommanderError && err.code === 'commander.help') return 2
    const { line, status } = failureOf(err, { command: pathOf(failing), argv })
    terminal.stderr.write(`${line}\n`)
    if (terminal.env.VAULTTERM_LOG === 'debug' || terminal.env.VAULTTERM_LOG === 'trace') {
      terminal.stderr.write(`${err instanceof Error ? err.stack : String(err)}\n`)
    }
    return status
  }
}

const commands = [
  serverCommands,
  tenantCommands,
  userCommands,
  keyCommands,
  targetCommands,
  grantCommands,
  sessionCommands,
  auditCommands,
  caCommands,
  vaultCommands,
  jobCommands,
  adminCommands,
  webLoginCommand,
]

/** Bytes that are not UTF-8 arrive as U+FFFD: what would be stored or signed is not what was typed. */
function requireText(argv: readonly string[]): void {
  const place = argv.findIndex((argument) => argument.includes('\ufffd'))
  if (place === -1) return
  throw new WrongUsage(`argument ${place + 1} is not UTF-8 text, or has the character U+FFFD`)
}

/** Every command throws instead of ending the process, and writes to the terminal that was given. */
function setUp(command: Command, terminal: Terminal, fails: (command: Command) => void): void {
  command
    .exitOverride((err) => {
      fails(command)
      throw err
    })
    .showSuggestionAfterError()
    .helpCommand(false)
    .configureOutput({
      writeOut: (text) => void terminal.stdout.write(text),
      writeErr: (text) => void terminal.stderr.write(text),
      // failureOf() puts it in our own words.
      outputError: () => {},
    })
  for (const one of command.commands) setUp(one, terminal, fails)
}

/** A command as it is typed: `vaultterm target add`. */
function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`
}
