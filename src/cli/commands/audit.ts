import { type Command, InvalidArgumentError } from 'commander'
import {
  type AuditEntry,
  type Fault,
  type KeptCheckpoint,
  parseKeptCheckpoints,
  type RepairPlan,
  type VerifyReport,
} from '../../audit/index.ts'
import { systemTenant, type TenantId } from '../../postgres/index.ts'
import type { Context } from '../context.ts'
import type { CliProduct } from '../deps.ts'
import { CheckFailed, WrongUsage } from '../errors.ts'
import { fieldsOf, wordOf } from '../fields.ts'
import { readText } from '../input.ts'
import { readableTime } from '../moment.ts'
import { printable, printableJson } from '../printable.ts'
import { withProgress } from '../progress.ts'
import { type JsonOption, jsonOption, parseCount } from './options.ts'

const tenantHelp = "its slug; `-` for the platform's own log"

/** audit tail, verify, repair, checkpoint. */
export function auditCommands(program: Command, context: Context): void {
  const audit = program.command('audit').description('read and verify the tamper-evident logs')
  audit
    .command('tail')
    .description('the last events of a tenant, oldest first')
    .argument('<tenant>', tenantHelp)
    .option('--limit <count>', 'the largest number of events', parseCount, 50)
    .option('--all', 'every event, from the first one')
    .option('--follow', 'then print new events until Ctrl-C')
    .addOption(jsonOption())
    .action((slug: string, options: TailOptions) =>
      withLog(context, 'audit tail', slug, (product, tenant) =>
        tail(context, product, tenant, options),
      ),
    )
  audit
    .command('verify')
    .description('recompute a log from its first event, and check every signature')
    .argument('<tenant>', tenantHelp)
    .option(
      '--checkpoint <file|note>',
      'compare with a checkpoint kept elsewhere: a file, - for stdin, or the note itself; repeatable',
      collectWhole,
    )
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        { json, checkpoint = [] }: JsonOption & { readonly checkpoint?: readonly string[] },
      ) => {
        const kept: KeptCheckpoint[] = []
        for (const given of checkpoint) kept.push(...(await readCheckpoints(context, given)))
        const report = await withLog(context, 'audit verify', slug, ({ audit: log }, tenant) =>
          withProgress(context.terminal, 'verifying', () => log.verify(tenant, { kept })),
        )
        const failure = report.ok
          ? undefined
          : new CheckFailed(`the log of ${slug} has ${report.faultsTotal} faults`)
        await context.printCheck(failure, () =>
          json === true ? context.printJson(report) : context.print(...reportLines(report)),
        )
      },
    )
  audit
    .command('repair')
    .description('verify a log and repair its head; without --yes, only print the repair')
    .argument('<tenant>', tenantHelp)
    .option('--yes', 'do it')
    .option(
      '--new-epoch',
      'give up a log whose signed leaves were changed, and begin a new one after it',
    )
    .option('--reason <text>', 'the reason, for the log')
    .addOption(jsonOption())
    .action((slug: string, options: RepairOptions) =>
      withLog(context, 'audit repair', slug, (product, tenant) =>
        repair(context, product, { slug, tenant }, options),
      ),
    )
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

/** Opens the installation for the log of a tenant, or for that of the platform. */
function withLog<T>(
  context: Context,
  what: string,
  slug: string,
  work: (product: CliProduct, tenant: TenantId) => Promise<T>,
): Promise<T> {
  if (slug === '-') return context.withProduct(what, (product) => work(product, systemTenant))
  return context.withTenant(what, slug, (product, { id }) => work(product, id))
}

interface TailOptions extends JsonOption {
  readonly limit: number
  readonly all?: boolean
  readonly follow?: boolean
}

async function tail(
  context: Context,
  { audit }: CliProduct,
  tenant: TenantId,
  { limit, all, follow, json }: TailOptions,
): Promise<void> {
  const end = (await audit.tail(tenant, { limit: 1 })).at(-1)?.index ?? -1
  const after = all === true ? -1 : Math.max(-1, end - limit)
  // With --follow there is no end to a document: each event is a line of its own.
  const asArray = json === true && follow !== true
  const line = (entry: AuditEntry) =>
    json === true ? printableJson(entry).replace(/\n\s*/g, ' ') : lineOf(entry)
  let last = after
  if (asArray) await context.print('[')
  for await (const entry of audit.entries(tenant, { after })) {
    if (entry.index > end) break
    await context.print(asArray && last !== after ? `, ${line(entry)}` : line(entry))
    last = entry.index
  }
  if (asArray) await context.print(']')
  if (follow !== true) return
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  process.once('SIGTERM', () => stop.abort())
  for await (const entry of audit.follow(tenant, { after: last, signal: stop.signal })) {
    await context.print(line(entry))
  }
}

interface RepairOptions extends JsonOption {
  readonly yes?: boolean
  readonly newEpoch?: boolean
  readonly reason?: string
}

async function repair(
  context: Context,
  { audit }: CliProduct,
  { slug, tenant }: { readonly slug: string; readonly tenant: TenantId },
  { yes, newEpoch, reason, json }: RepairOptions,
): Promise<void> {
  if (newEpoch === true && (reason ?? '').trim() === '') {
    throw new WrongUsage('--new-epoch needs --reason TEXT: the reason goes on the log')
  }
  const plan = await withProgress(context.terminal, 'verifying', () => audit.planRepair(tenant))
  const refused = (plan.repair === 'epoch' || plan.repair === 'remember') && newEpoch !== true
  const done = yes === true && !refused && plan.repair !== 'none'
  if (done) {
    const order = { actor: context.actor, reason: reason ?? 'audit repair' }
    await uninterrupted(() =>
      withProgress(context.terminal, 'repairing', () => audit.repair(tenant, plan, order)),
    )
  }
  const failure = refused ? new CheckFailed(refusalOf(plan, slug)) : undefined
  await context.printCheck(failure, () =>
    json === true
      ? context.printJson({ ...plan, done })
      : context.print(...reportLines(plan.report), repairLine(plan, done)),
  )
}

/** Half of a repair looks like an attack: it commits to the database first, and this node remembers it then. */
async function uninterrupted(work: () => Promise<unknown>): Promise<void> {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const wait = () => {}
  for (const signal of signals) process.on(signal, wait)
  try {
    await work()
  } finally {
    for (const signal of signals) process.off(signal, wait)
  }
}

function refusalOf({ repair: kind }: RepairPlan, slug: string): string {
  return kind === 'remember'
    ? `a new log of ${slug} was begun, and not by this node: if that was a repair of yours, accept it with --yes --new-epoch --reason TEXT; if not, somebody replaced the log`
    : `signed events of ${slug} were changed or are gone, and no repair brings them back: restore the database, or begin a new log with --yes --new-epoch --reason TEXT. A repair that was broken off shows the same: run it again`
}

function repairLine({ repair: kind, report }: RepairPlan, done: boolean): string {
  const needed = kind === 'head' ? '--yes' : '--yes --new-epoch --reason TEXT'
  const [did, would] = done ? ['was', ''] : ['would be', `; ${needed} does it`]
  switch (kind) {
    case 'none':
      return report.ok
        ? 'nothing to repair'
        : 'no repair brings back the events of a former log: restore the database'
    case 'head': {
      const forged = report.forgedCheckpoints.length
      if (forged > 0 && report.faultsTotal === forged)
        return `${forged} checkpoints that our key did not sign ${did} removed${would}`
      return `the head of ${report.treeSize} events ${did} replaced by that of the ${report.size} stored ones${would}`
    }
    case 'remember':
      return `the new epoch ${did} remembered by this node${would}`
    default:
      return `a new log ${did} begun behind the ${report.size} stored events, which stay${would}`
  }
}

/** A note may be given directly: it has more than one line, and no file name has. */
async function readCheckpoints(context: Context, given: string): Promise<KeptCheckpoint[]> {
  return parseKeptCheckpoints(
    given.includes('\n') ? given : await readText(given, context.terminal),
  )
}

function collectWhole(value: string, before: readonly string[] = []): readonly string[] {
  if (value === '') throw new InvalidArgumentError('name a file, or give a signed note')
  return [...before, value]
}

function reportLines(report: VerifyReport): string[] {
  if (!report.ok) return report.faults.map(faultLine)
  const { size, signedSize, checkpoints, rememberedSize, kept, formerVerified, root } = report
  return [
    `intact: ${size} events, ${signedSize} of them signed in ${checkpoints} checkpoints`,
    `root ${root}`,
    rememberedSize === undefined
      ? 'this node remembers no signed head: compare with a kept one by --checkpoint'
      : `this node remembers a signed head of ${rememberedSize} events`,
    ...(kept > 0 ? [`the log continues ${kept} kept checkpoints`] : []),
    ...(formerVerified > 0
      ? [`${formerVerified} events of former epochs come before it, unchanged since it began`]
      : []),
  ]
}

function lineOf({ index, at, type, public: facts, private: names }: AuditEntry): string {
  const place = `${String(index).padStart(6)}  ${readableTime(at)}`
  return printable(`${place}  ${wordOf(type).padEnd(18)}  ${fieldsOf({ ...names, ...facts })}`)
}

function faultLine({ kind, at, from, detail }: Fault): string {
  const place = from === undefined ? `at ${at}` : `between ${from} and ${at}`
  return printable(`WRONG  ${kind} ${place}${detail === undefined ? '' : `: ${detail}`}`)
}
