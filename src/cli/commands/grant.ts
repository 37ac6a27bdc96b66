import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  type ChannelKind,
  channelKinds,
  type Grant,
  isChannelKind,
  kindsByDefault,
} from '../../access/index.ts'
import { type Role, roles } from '../../auth/index.ts'
import type { Context } from '../context.ts'
import { shown, WrongUsage } from '../errors.ts'
import { readableTime } from '../moment.ts'
import type { Column } from '../table.ts'
import { collect, type JsonOption, jsonOption, parseMomentOption } from './options.ts'

const columns: readonly Column<Grant>[] = [
  { title: 'WHO', value: ({ user, role }) => user ?? `role ${role}` },
  { title: 'TARGET', value: ({ target }) => target },
  { title: 'LOGINS', value: ({ logins }) => (logins.length === 0 ? 'all' : logins.join(',')) },
  { title: 'ALLOW', value: ({ allow }) => allow.join(',') },
  { title: 'UNTIL', value: ({ until }) => readableTime(until) },
  { title: 'ID', value: ({ id }) => id },
]

interface AddOptions extends JsonOption {
  readonly user?: string
  readonly role?: Role
  readonly target: string
  readonly login?: readonly string[]
  readonly allow?: readonly ChannelKind[]
  readonly forward?: readonly string[]
  readonly until?: string
}

/** grant add, list, remove. */
export function grantCommands(program: Command, context: Context): void {
  const grant = program.command('grant').description('manage access of users to targets')
  grant
    .command('add')
    .description('let a user, or every user with a role, open a target')
    .argument('<tenant>')
    .option('--user <user>', 'one user')
    .addOption(new Option('--role <role>', 'every user with this role').choices(roles))
    .requiredOption('--target <target>', "a target's name, or '*' for every target")
    .option('--login <login...>', 'accounts on the target (default: all of its logins)', collect)
    .option(
      '--allow <kinds>',
      `of ${channelKinds.join(',')} (default: ${kindsByDefault.join(',')})`,
      collectKinds,
    )
    .option(
      '--forward <destinations...>',
      'destinations that forwards may reach: host:port, *.name:443, 10.0.0.0/8:* (default: all, sockets too)',
      collect,
    )
    .option('--until <time>', 'the end of the grant: 2027-01-31, 8h', parseMomentOption)
    .addOption(jsonOption())
    .action(async (slug: string, options: AddOptions) => {
      const { user, role, target, login, allow, forward, until, json } = options
      if ((user === undefined) === (role === undefined)) {
        throw new WrongUsage('give either --user or --role')
      }
      const added = await context.withTenant('grant add', slug, ({ access }, tenant) =>
        access.addGrant(
          tenant.id,
          {
            target,
            ...(user === undefined ? {} : { user }),
            ...(role === undefined ? {} : { role }),
            ...(login === undefined ? {} : { logins: login }),
            ...(allow === undefined ? {} : { allow }),
            ...(forward === undefined ? {} : { forwards: forward }),
            ...(until === undefined ? {} : { until }),
          },
          context.actor,
        ),
      )
      const who = user ?? `every user of role ${role}`
      const line = `granted ${added.allow.join(',')} on ${target} to ${who} (${added.id})`
      await context.printDone(json, toJson(added), line)
    })
  grant
    .command('list')
    .description('list the grants of a tenant')
    .argument('<tenant>')
    .addOption(jsonOption())
    .action(async (slug: string, { json }: JsonOption) => {
      const list = await context.withTenant('grant list', slug, ({ access }, tenant) =>
        access.listGrants(tenant.id),
      )
      await context.printList(list, {
        json,
        columns,
        toJson,
        none: 'no grants yet: `vaultterm grant add --help` shows how to add one',
      })
    })
  grant
    .command('remove')
    .description('remove a grant and end the sessions that no other grant allows')
    .argument('<tenant>')
    .argument('<id>')
    .addOption(jsonOption())
    .action(async (slug: string, id: string, { json }: JsonOption) => {
      const removed = await context.withTenant('grant remove', slug, ({ access }, tenant) =>
        access.removeGrant(tenant.id, id, context.actor),
      )
      await context.printDone(json, toJson(removed), `removed grant ${id}`)
    })
}

function collectKinds(value: string, before: readonly ChannelKind[] = []): readonly ChannelKind[] {
  const kinds = collect(value).map((kind) => {
    if (isChannelKind(kind)) return kind
    throw new InvalidArgumentError(
      `${shown(kind)} is unknown: choose from ${channelKinds.join(', ')}`,
    )
  })
  return [...before, ...kinds]
}

function toJson(grant: Grant): object {
  const { id, user, role, target, logins, allow, forwards, until, createdAt } = grant
  return {
    id,
    user: user ?? null,
    role: role ?? null,
    target,
    logins,
    allow,
    forwards,
    until: until ?? null,
    createdAt,
  }
}
