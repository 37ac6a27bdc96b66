import { type Command, Option } from 'commander'
import type { Target } from '../../access/index.ts'
import { targetPrincipal } from '../../ca/index.ts'
import { CodedError } from '../../errors.ts'
import { fingerprint, formatPublicKey } from '../../ssh/index.ts'
import type { Tenant } from '../../tenant/index.ts'
import type { Context } from '../context.ts'
import type { CliProduct } from '../deps.ts'
import { NameTaken, WrongUsage } from '../errors.ts'
import {
  compareHostKeys,
  type HostKeyOptions,
  readHostKeys,
  requireKeySource,
} from '../host-keys.ts'
import { onboardCertificateLines, onboardLines } from '../onboard.ts'
import { printable } from '../printable.ts'
import { withProgress } from '../progress.ts'
import type { Column } from '../table.ts'
import { checkLogins, failedCheck } from '../target-check.ts'
import { requireTarget, targetJson } from '../target-json.ts'
import { collect, type JsonOption, jsonOption, parsePort } from './options.ts'
import { updateCommand } from './target-update.ts'

const columns: readonly Column<Target>[] = [
  { title: 'TARGET', value: ({ name }) => name },
  { title: 'ADDRESS', value: ({ host, port }) => `${host}:${port}` },
  { title: 'LOGINS', value: ({ logins }) => logins.join(',') },
  { title: 'AUTH', value: ({ auth }) => auth },
  { title: 'HOST KEYS', value: ({ hostKeys }) => hostKeys.map(({ type }) => type).join(',') },
]

interface AddOptions extends JsonOption, HostKeyOptions {
  readonly host: string
  readonly port: number
  readonly login: readonly string[]
  readonly auth: Target['auth']
}

/** target add, update, list, remove, onboard, check. */
export function targetCommands(program: Command, context: Context): void {
  const target = program.command('target').description('manage the hosts that users can reach')
  addCommand(target, context)
  updateCommand(target, context)
  target
    .command('list')
    .description('list the targets of a tenant')
    .argument('<tenant>')
    .addOption(jsonOption())
    .action(async (slug: string, { json }: JsonOption) => {
      const list = await context.withTenant('target list', slug, ({ access }, tenant) =>
        access.listTargets(tenant.id),
      )
      const none = 'no targets yet: `vaultterm target add --help` shows how to add one'
      await context.printList(list, { json, columns, toJson: targetJson, none })
    })
  target
    .command('remove')
    .description('remove a target and end its live sessions')
    .argument('<tenant>')
    .argument('<name>')
    .addOption(jsonOption())
    .action(async (slug: string, name: string, { json }: JsonOption) => {
      const removed = await context.withTenant('target remove', slug, ({ access }, tenant) =>
        access.removeTarget(tenant.id, name, context.actor),
      )
      await context.printDone(json, targetJson(removed), `removed ${name}`)
    })
  target
    .command('onboard')
    .description('print the shell lines that make a target accept the bastion')
    .argument('<tenant>')
    .argument('<name>')
    .addOption(jsonOption())
    .action(async (slug: string, name: string, { json }: JsonOption) => {
      const onboarding = await context.withTenant('target onboard', slug, (product, tenant) =>
        onboardingOf(product, tenant, name),
      )
      if (json === true) return context.printJson(onboarding)
      await context.print(...onboarding.lines)
    })
  target
    .command('check')
    .description('connect to a target, log in with each of its logins, and report the results')
    .argument('<tenant>')
    .argument('<name>')
    .option('--login <login>', 'the only account to log in to (default: every login of the target)')
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        name: string,
        { login, json }: JsonOption & { readonly login?: string },
      ) => {
        const report = await context.withTenant('target check', slug, async (product, tenant) => {
          const found = requireTarget(await product.access.findTarget(tenant.id, name), name)
          if (login !== undefined && !found.logins.includes(login)) {
            throw new WrongUsage(
              `${name} has no login ${login}: choose one of ${found.logins.join(', ')}`,
            )
          }
          return withProgress(context.terminal, `connecting to ${name}`, () =>
            checkLogins(product, tenant, found, login === undefined ? found.logins : [login]),
          )
        })
        const good = report.logins.filter(({ ok }) => ok)
        const failure = report.ok ? undefined : failedCheck(name, report)
        await context.printCheck(failure, async () => {
          if (json === true) await context.printJson(report)
          else if (good.length > 0)
            await context.print(...good.map(({ message }) => printable(`${name}: ${message}`)))
        })
      },
    )
}

function addCommand(target: Command, context: Context): void {
  target
    .command('add')
    .description('register a host with its host key')
    .argument('<tenant>')
    .argument('<name>', 'a-z, 0-9 and -')
    .requiredOption('--host <host>', 'host name or address')
    .addOption(new Option('--port <port>', 'SSH port').argParser(parsePort).default(22))
    .requiredOption('--login <logins>', 'accounts on the host; the first is the default', collect)
    .option(
      '--host-key <file>',
      'file with the public host keys (.pub or known_hosts lines), or - for stdin',
    )
    .option('--scan', 'ask the host for its keys and trust the answer: compare them afterwards')
    .addOption(
      new Option('--auth <how>', 'how the bastion logs in to the host')
        .choices(['key', 'cert'])
        .default('key'),
    )
    .addOption(jsonOption())
    .action(async (slug: string, name: string, options: AddOptions) => {
      const { host, port, login, auth, json } = options
      const hostKeys = await readHostKeys(context, { host, port }, requireKeySource(options))
      const added = await context.withTenant('target add', slug, async ({ access }, tenant) => {
        const fields = { name, host, port, logins: login, auth, hostKeys }
        try {
          return await access.addTarget(tenant.id, fields, context.actor)
        } catch (err) {
          if (err instanceof CodedError && err.code === 'ERR_TARGET_EXISTS')
            throw new NameTaken(tenant.slug, name, err)
          throw err
        }
      })
      if (json === true) return context.printJson(targetJson(added))
      await context.print(
        `added ${name} at ${host}:${port} with these host keys:`,
        ...added.hostKeys.map(({ type, blob }) => `  ${type} ${fingerprint(blob)}`),
        ...(options.scan === true ? [compareHostKeys] : []),
        `next: vaultterm target onboard ${slug} ${name}`,
      )
    })
}

/** The setting that a target needs to accept the bastion, as lines to run on it and as values. */
async function onboardingOf(product: CliProduct, { id, slug }: Tenant, name: string) {
  const target = requireTarget(await product.access.findTarget(id, name), name)
  if (target.auth === 'key') {
    const { publicKey, fingerprint } = await product.vault.describe(id, 'admin_ssh')
    return { target: name, publicKey, fingerprint, lines: onboardLines(target, publicKey) }
  }
  const authorities = (await product.ca.authorities(id, 'user')).map(({ publicKey, generation }) =>
    formatPublicKey(
      { type: 'ssh-ed25519', blob: publicKey },
      `vaultterm user CA of ${slug}, generation ${generation}`,
    ),
  )
  const principals = target.logins.map((login): [string, string] => [
    login,
    targetPrincipal(id, target.id, login),
  ])
  const revocationList = await product.ca.revocationList(id, 'user')
  const trust = { authorities, principals, revocationList }
  return {
    target: name,
    trustedUserCAKeys: authorities,
    principals: Object.fromEntries(principals),
    krl: revocationList.toString('base64'),
    lines: onboardCertificateLines(target, trust),
  }
}
