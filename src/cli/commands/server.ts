import type { Command } from 'commander'
import type { Context } from '../context.ts'
import type { Finding } from '../deps.ts'
import { CheckFailed } from '../errors.ts'
import { printable } from '../printable.ts'
import { formatFields } from '../table.ts'
import { styleOf } from '../terminal.ts'
import { type JsonOption, jsonOption } from './options.ts'

/** up, serve, migrate, check-config, doctor: the installation as a whole. */
export function serverCommands(program: Command, context: Context): void {
  const { deps } = context
  program
    .command('up')
    .description('run a complete bastion on this machine with embedded datastores')
    .option('--json', 'print one line of JSON when the server accepts connections')
    .action(async ({ json }: JsonOption) => {
      context.status = await deps.up({ json: json === true })
    })
  program
    .command('serve')
    .description('run in production on the datastores of the settings')
    .option('--json', 'print one line of JSON when the server accepts connections')
    .action(async ({ json }: JsonOption) => {
      context.status = await deps.serve({ json: json === true })
    })
  program
    .command('migrate')
    .description('update the database of DATABASE_URL to the schema of this version')
    .addOption(jsonOption())
    .action(async ({ json }: JsonOption) => {
      const { applied, version } = await deps.migrate()
      const line =
        applied.length === 0
          ? `nothing to do: the schema is at ${version}`
          : `applied ${applied.join(', ')}; the schema is at ${version}`
      await context.printDone(json, { applied, version }, line)
    })
  program
    .command('check-config')
    .description('read the settings and report every wrong one')
    .option('--serve', 'also require the settings that `serve` needs')
    .addOption(jsonOption())
    .action(async ({ json, serve }: JsonOption & { readonly serve?: boolean }) => {
      const settings = await deps.checkConfig({ serve: serve === true })
      if (json === true) return context.printJson(settings)
      await context.print(...formatFields(Object.entries(settings)))
    })
  program
    .command('doctor')
    .description('check the installation and explain how to fix each problem')
    .addOption(jsonOption())
    .action(async ({ json }: JsonOption) => {
      const findings = await deps.doctor()
      const wrong = findings.filter(({ ok }) => !ok).map(({ name }) => name)
      const failure =
        wrong.length === 0 ? undefined : new CheckFailed(`these checks failed: ${wrong.join(', ')}`)
      await context.printCheck(failure, () =>
        json === true ? context.printJson(findings) : printFindings(context, findings),
      )
    })
}

async function printFindings(context: Context, findings: readonly Finding[]): Promise<void> {
  const style = styleOf(context.terminal.stdout, context.terminal.env)
  await context.print(
    ...findings.flatMap(({ name, ok, detail, fix }) => [
      `${ok ? style.good('ok   ') : style.bad('WRONG')}  ${name}: ${printable(detail)}`,
      ...(fix === undefined ? [] : [`       ${printable(fix)}`]),
    ]),
  )
}
