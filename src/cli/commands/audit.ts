import type { Command } from 'commander'
import type { AuditEntry, Fault } from '../../audit/index.ts'
import type { Context } from '../context.ts'
import { CheckFailed } from '../errors.ts'
import { readableTime } from '../moment.ts'
import { printable, printableJson } from '../printable.ts'
import { withProgress } from '../progress.ts'
import { type JsonOption, jsonOption, parseCount } from './options.ts'

/** audit tail, verify, checkpoint. */
export function auditCommands(program: Command, context: Context): void {
  const audit = program.command('audit').description('read and verify the tamper-evident logs')
  audit
    .command('tail')
    .description('print the last events of a tenant, oldest first')
    .argument('<tenant>')
    .option('--limit <count>', 'the largest number of events', parseCount, 50)
    .option('--follow', 'print new events as they come, until Ctrl-C')
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        { limit, follow, json }: JsonOption & { readonly limit: number; readonly follow?: boolean },
      ) => {
        await context.withTenant('audit tail', slug, async (product, tenant) => {
          const entries = await product.audit.tail(tenant.id, { limit })
          if (json === true && follow !== true) return context.printJson(entries)
          const show = (entry: AuditEntry) =>
            context.print(
              json === true ? printableJson(entry).replace(/\n\s*/g, ' ') : lineOf(entry),
            )
          for (const entry of entries) await show(entry)
          if (follow !== true) return
          const stop = new AbortController()
          process.once('SIGINT', () => stop.abort())
          process.once('SIGTERM', () => stop.abort())
          const after = entries.at(-1)?.index ?? -1
          const { signal } = stop
          for await (const entry of product.audit.follow(tenant.id, { after, signal })) {
            await show(entry)
          }
        })
      },
    )
  audit
    .command('verify')
    .description('recompute a log from its first event and check every signature')
    .argument('<tenant>')
    .addOption(jsonOption())
    .action(async (slug: string, { json }: JsonOption) => {
      const report = await context.withTenant('audit verify', slug, ({ audit: log }, tenant) =>
        withProgress(context.terminal, 'verifying', () => log.verify(tenant.id)),
      )
      if (json === true) await context.printJson(report)
      else if (report.ok) {
        await context.print(
          `intact: ${report.size} events, ${report.signedSize} of them covered by ${report.checkpoints} signed checkpoints`,
          `root ${report.root}`,
        )
      } else await context.print(...report.faults.map(faultLine))
      if (!report.ok) throw new CheckFailed(`the log of ${slug} has ${report.faultsTotal} faults`)
    })
  audit
    .command('checkpoint')
    .description('sign the head of every log that has grown')
    .addOption(jsonOption())
    .action(async ({ json }: JsonOption) => {
      const notes = await context.withProduct('audit checkpoint', async (product) => {
        const tenants = await product.tenants.list()
        const signed = []
        for (const { id, slug } of tenants) {
          signed.push({ tenant: slug, note: await product.audit.checkpoint(id) })
        }
        return signed
      })
      if (json === true) return context.printJson(notes)
      for (const { tenant, note } of notes) await context.print(`# ${tenant}`, note.trimEnd(), '')
    })
}

function lineOf({ index, at, type, public: facts, private: names }: AuditEntry): string {
  const values = Object.entries({ ...names, ...facts })
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ')
  return printable(
    `${String(index).padStart(6)}  ${readableTime(at)}  ${type.padEnd(18)}  ${values}`,
  )
}

function faultLine({ kind, at, from, detail }: Fault): string {
  const place = from === undefined ? `at ${at}` : `between ${from} and ${at}`
  return printable(`WRONG  ${kind} ${place}${detail === undefined ? '' : `: ${detail}`}`)
}
