import { type Command, Option } from 'commander'
import type { HostKey, Target, TargetUpdate } from '../../access/index.ts'
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
      const updated = await context.withTenant('target update', slug, async (product, { id }) => {
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
        return product.access.updateTarget(id, name, change, context.actor)
      })
      if (options.json === true) return context.printJson(targetJson(updated.after))
      await context.print(
        ...linesOf(updated, slug),
        ...(source === 'scan' ? [compareHostKeys] : []),
      )
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

function linesOf({ before, after }: TargetUpdate, slug: string): readonly string[] {
  const { name, host, port } = after
  if (after === before) return [`${name} already has these values: nothing was changed`]
  const lineOf = ({ type, blob }: HostKey) => `  ${type} ${fingerprint(blob)}`
  const isKept = (key: HostKey) => after.hostKeys.some(({ blob }) => blob.equals(key.blob))
  const forgotten = before.hostKeys.filter((key) => !isKept(key))
  return [
    `updated ${name} at ${host}:${port}, known by`,
    ...after.hostKeys.map(lineOf),
    ...(forgotten.length === 0 ? [] : ['no longer known by', ...forgotten.map(lineOf)]),
    `next: vaultterm target onboard ${slug} ${name}, if the host does not accept the bastion yet`,
  ]
}
