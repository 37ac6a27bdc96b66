import { type Command, Option } from 'commander'
import type { Grant, HostKey, Target, TargetUpdate } from '../../access/index.ts'
import { fingerprint } from '../../ssh/index.ts'
import type { Context } from '../context.ts'
import { CheckFailed, WrongUsage } from '../errors.ts'
import {
  compareHostKeys,
  type HostKeyOptions,
  type HostKeySource,
  keySourceOf,
  readHostKeys,
} from '../host-keys.ts'
import { requireTarget, targetJson } from '../target-json.ts'
import { collect, type JsonOption, jsonOption, parsePort } from './options.ts'

interface UpdateOptions extends JsonOption, HostKeyOptions {
  readonly host?: string
  readonly port?: number
  readonly login?: readonly string[]
  readonly auth?: Target['auth']
  readonly replace?: boolean
}

/** target update: changes a target in place, so that its grants stay. */
export function updateCommand(target: Command, context: Context): void {
  target
    .command('update')
    .description('change a target; its grants stay')
    .argument('<tenant>')
    .argument('<name>')
    .option('--host <host>', 'the new host name or address')
    .addOption(new Option('--port <port>', 'the new SSH port').argParser(parsePort))
    .option('--login <logins>', 'all accounts on the host; the first is the default', collect)
    .option(
      '--host-key <file>',
      'file with the public host keys (.pub or known_hosts lines), or - for stdin',
    )
    .option('--scan', 'ask the host for its keys and trust the answer: compare them afterwards')
    .option('--replace', 'forget the host keys on record: the host was reinstalled')
    .addOption(
      new Option('--auth <how>', 'how the bastion logs in to the host').choices(['key', 'cert']),
    )
    .addOption(jsonOption())
    .addHelpText(
      'after',
      `
Sessions end that the change does not allow: those with a login that is no longer there, and
all of them when the address changes or a host key is forgotten.

A host that was reinstalled: vaultterm target update TENANT NAME --scan --replace`,
    )
    .action(async (slug: string, name: string, options: UpdateOptions) => {
      const source = sourceOf(options)
      const done = await context.withTenant('target update', slug, async (product, { id }) => {
        const found = requireTarget(await product.access.findTarget(id, name), name)
        const keys = source && (await keysFor(context, found, options, source))
        const { host, port, login: logins, auth, replace = false } = options
        const change = {
          ...(host !== undefined && { host }),
          ...(port !== undefined && { port }),
          ...(logins !== undefined && { logins }),
          ...(auth !== undefined && { auth }),
          ...(keys && { hostKeys: { keys, replace } }),
        }
        const updated = await product.access.updateTarget(id, name, change, context.actor)
        const grants = logins === undefined ? [] : await product.access.listGrants(id)
        return { updated, idle: grants.filter((grant) => opensNothing(grant, updated.after)) }
      })
      const { updated, idle } = done
      if (options.json === true) await context.printJson(targetJson(updated.after))
      else await context.print(...linesOf(updated, slug, source))
      for (const grant of idle) {
        const { id, logins } = grant
        context.terminal.stderr.write(
          `warning: grant ${id} opens nothing now, because ${name} has no login ${logins.join(', ')}: remove it (vaultterm grant remove ${slug} ${id}), and add one with a login of ${name}\n`,
        )
      }
    })
}

/** Throws WrongUsage where the options change nothing, or contradict each other. */
function sourceOf(options: UpdateOptions): HostKeySource | undefined {
  const { host, port, login, auth, replace } = options
  const source = keySourceOf(options)
  if (replace === true && source === undefined) {
    throw new WrongUsage('--replace needs the new host keys: give --host-key FILE or --scan too')
  }
  const facts = [host, port, login, auth, source]
  if (facts.every((fact) => fact === undefined)) {
    throw new WrongUsage('give at least one of --host, --port, --login, --auth, --host-key, --scan')
  }
  return source
}

/**
 * Without --replace a scan only adds to the keys of the same machine: it must show one that is on record,
 * and no other key of a type that is on record. Anything else may be another machine.
 */
async function keysFor(
  context: Context,
  { name, hostKeys, ...found }: Target,
  { host = found.host, port = found.port, replace }: UpdateOptions,
  source: HostKeySource,
): Promise<readonly HostKey[]> {
  const keys = await readHostKeys(context, { host, port }, source)
  if (replace === true || source !== 'scan') return keys
  const isOnRecord = ({ blob }: HostKey) => hostKeys.some((known) => known.blob.equals(blob))
  const isOther = (key: HostKey) =>
    !isOnRecord(key) && hostKeys.some(({ type }) => type === key.type)
  if (keys.some(isOnRecord) && !keys.some(isOther)) return keys
  const printsOf = (all: readonly HostKey[]) =>
    all.map(({ type, blob }) => `${type} ${fingerprint(blob)}`).join(', ')
  throw new CheckFailed(
    `${host} shows ${printsOf(keys)}, and ${name} is known by ${printsOf(hostKeys)}: nothing was changed; if the host was reinstalled, compare the keys with those that the host itself prints, and give --replace too`,
  )
}

/** Whether a grant names this target, and only logins that it does not have. One that has expired does not count. */
function opensNothing(grant: Grant, { name, logins }: Target): boolean {
  if (grant.target !== name || grant.logins.length === 0) return false
  if (grant.until !== undefined && Date.parse(grant.until) <= Date.now()) return false
  return !grant.logins.some((login) => logins.includes(login))
}

function linesOf(
  { before, after }: TargetUpdate,
  slug: string,
  source: HostKeySource | undefined,
): readonly string[] {
  const { name } = after
  if (after === before) return [`${name} already has these values: nothing was changed`]
  const changed = (label: string, value: (target: Target) => string) =>
    value(before) === value(after) ? [] : [`  ${label}: ${value(after)} (before: ${value(before)})`]
  return [
    `updated ${name}:`,
    ...changed('address', ({ host, port }) => `${host}:${port}`),
    ...changed('logins', ({ logins }) => logins.join(', ')),
    ...changed('auth', ({ auth }) => auth),
    ...keyLines(before, after, source),
    `next: vaultterm target onboard ${slug} ${name}, if the host does not accept the bastion yet`,
  ]
}

function keyLines(
  before: Target,
  after: Target,
  source: HostKeySource | undefined,
): readonly string[] {
  const lineOf = ({ type, blob }: HostKey) => `    ${type} ${fingerprint(blob)}`
  const missingIn =
    ({ hostKeys }: Target) =>
    (key: HostKey) =>
      !hostKeys.some(({ blob }) => blob.equals(key.blob))
  const added = after.hostKeys.filter(missingIn(before))
  const forgotten = before.hostKeys.filter(missingIn(after))
  return [
    ...(forgotten.length === 0 ? [] : ['  no longer known by', ...forgotten.map(lineOf)]),
    ...(added.length === 0
      ? []
      : [forgotten.length === 0 ? '  now also known by' : '  now known by', ...added.map(lineOf)]),
    ...(added.length > 0 && source === 'scan' ? [compareHostKeys] : []),
  ]
}
