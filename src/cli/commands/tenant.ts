import type { Command } from 'commander'
import type { Tenant } from '../../tenant/index.ts'
import type { Context } from '../context.ts'
import { readableTime } from '../moment.ts'
import { withProgress } from '../progress.ts'
import type { Column } from '../table.ts'
import { type JsonOption, jsonOption } from './options.ts'

const columns: readonly Column<Tenant>[] = [
  { title: 'TENANT', value: ({ slug }) => slug },
  { title: 'NAME', value: ({ name }) => name },
  {
    title: 'STATE',
    value: ({ suspendedAt }) => (suspendedAt === undefined ? 'active' : 'suspended'),
  },
  { title: 'CREATED', value: ({ createdAt }) => readableTime(createdAt) },
  { title: 'ID', value: ({ id }) => id },
]

/** tenant create, list, suspend, resume. */
export function tenantCommands(program: Command, context: Context): void {
  const tenant = program
    .command('tenant')
    .description('manage tenants: the organisations that share this bastion')
  tenant
    .command('create')
    .description('create a tenant with its own log and keys')
    .argument('<slug>', 'the name in `ssh SLUG@…`: a-z, 0-9 and -')
    .option('--name <name>', 'display name')
    .addOption(jsonOption())
    .action(async (slug: string, { name, json }: JsonOption & { readonly name?: string }) => {
      const made = await context.withProduct('tenant create', ({ tenants }) =>
        withProgress(context.terminal, 'creating its keys', () =>
          tenants.create({ slug, ...(name === undefined ? {} : { name }) }, context.actor),
        ),
      )
      await context.printDone(json, toJson(made), `created tenant ${made.slug} (${made.id})`)
    })
  tenant
    .command('list')
    .description('list all tenants')
    .addOption(jsonOption())
    .action(async ({ json }: JsonOption) => {
      const list = await context.withProduct('tenant list', ({ tenants }) => tenants.list())
      const none = 'no tenants yet: `vaultterm tenant create SLUG` creates one'
      await context.printList(list, { json, columns, toJson, none })
    })
  for (const verb of ['suspend', 'resume'] as const) {
    tenant
      .command(verb)
      .description(
        verb === 'suspend' ? 'refuse all logins of a tenant' : 'allow the logins of a tenant again',
      )
      .argument('<slug>', 'the tenant')
      .addOption(jsonOption())
      .action(async (slug: string, { json }: JsonOption) => {
        const done = await context.withProduct(`tenant ${verb}`, ({ tenants }) =>
          tenants[verb](slug, context.actor),
        )
        await context.printDone(json, toJson(done), `${verb}ed tenant ${slug}`.replace('eed', 'ed'))
      })
  }
}

function toJson({ id, slug, name, createdAt, suspendedAt }: Tenant): object {
  return { id, slug, name, createdAt, suspendedAt: suspendedAt ?? null }
}
