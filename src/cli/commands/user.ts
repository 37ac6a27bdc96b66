import { Argument, type Command, Option } from 'commander'
import { type Role, roles, type User } from '../../auth/index.ts'
import type { Context } from '../context.ts'
import { readableTime } from '../moment.ts'
import type { Column } from '../table.ts'
import { type JsonOption, jsonOption } from './options.ts'

const columns: readonly Column<User>[] = [
  { title: 'USER', value: ({ name }) => name },
  { title: 'ROLE', value: ({ role }) => role },
  { title: 'E-MAIL', value: ({ email }) => email ?? '-' },
  { title: 'ADDED', value: ({ createdAt }) => readableTime(createdAt) },
]

interface AddOptions extends JsonOption {
  readonly role: Role
  readonly email?: string
}

/** user add, list, set-role, remove, forget-passkeys. */
export function userCommands(program: Command, context: Context): void {
  const user = program.command('user').description('manage the users of a tenant')
  user
    .command('add')
    .description('add a user')
    .argument('<tenant>')
    .argument('<name>', 'a-z, 0-9 and -')
    .addOption(
      new Option('--role <role>', 'the role of the user in the tenant')
        .choices(roles)
        .default('member'),
    )
    .option('--email <email>', 'e-mail address')
    .addOption(jsonOption())
    .action(async (slug: string, name: string, { role, email, json }: AddOptions) => {
      const added = await context.withTenant('user add', slug, ({ auth }, tenant) =>
        auth.addUser(
          tenant.id,
          { name, role, ...(email === undefined ? {} : { email }) },
          context.actor,
        ),
      )
      const next = `vaultterm key add ${slug} ${name} FILE`
      await context.printDone(json, toJson(added), `added ${role} ${name}; next: ${next}`)
    })
  user
    .command('list')
    .description('list the users of a tenant')
    .argument('<tenant>')
    .addOption(jsonOption())
    .action(async (slug: string, { json }: JsonOption) => {
      const list = await context.withTenant('user list', slug, ({ auth }, tenant) =>
        auth.listUsers(tenant.id),
      )
      await context.printList(list, { json, columns, toJson, none: `no users in ${slug} yet` })
    })
  user
    .command('set-role')
    .description('give a user another role; sessions that it no longer allows end at once')
    .argument('<tenant>')
    .argument('<name>')
    .addArgument(new Argument('<role>', 'the role of the user in the tenant').choices(roles))
    .addOption(jsonOption())
    .action(async (slug: string, name: string, role: Role, { json }: JsonOption) => {
      const changed = await context.withTenant('user set-role', slug, ({ auth }, tenant) =>
        auth.setRole(tenant.id, name, role, context.actor),
      )
      await context.printDone(json, toJson(changed), `${name} is ${role} now`)
    })
  user
    .command('remove')
    .description('remove a user with all keys and grants; the record of past sessions stays')
    .argument('<tenant>')
    .argument('<name>')
    .addOption(jsonOption())
    .action(async (slug: string, name: string, { json }: JsonOption) => {
      const removed = await context.withTenant('user remove', slug, ({ auth }, tenant) =>
        auth.removeUser(tenant.id, name, context.actor),
      )
      await context.printDone(json, toJson(removed), `removed ${name}`)
    })
  user
    .command('forget-passkeys')
    .description('remove all passkeys of a user who lost them, and sign all their browsers out')
    .argument('<tenant>')
    .argument('<name>')
    .addOption(jsonOption())
    .action(async (slug: string, name: string, { json }: JsonOption) => {
      const count = await context.withTenant('user forget-passkeys', slug, ({ auth }, tenant) =>
        auth.forgetPasskeys(tenant.id, name, context.actor),
      )
      const next = `vaultterm web-login ${slug} ${name}`
      await context.printDone(json, { name, count }, `removed ${count} passkeys; next: ${next}`)
    })
}

function toJson({ id, name, role, email, createdAt }: User): object {
  return { id, name, role, email: email ?? null, createdAt }
}
