import type { Command } from 'commander'
import type { UserKey } from '../../auth/index.ts'
import { parsePublicKey } from '../../ssh/index.ts'
import type { Context } from '../context.ts'
import { KeyFileRefused } from '../errors.ts'
import { readText } from '../input.ts'
import { readableTime } from '../moment.ts'
import type { Column } from '../table.ts'
import { type JsonOption, jsonOption, parseMomentOption } from './options.ts'

const columns: readonly Column<UserKey>[] = [
  { title: 'FINGERPRINT', value: ({ fingerprint }) => fingerprint },
  { title: 'TYPE', value: ({ type }) => type },
  { title: 'USER', value: ({ user }) => user },
  { title: 'EXPIRES', value: ({ expiresAt }) => readableTime(expiresAt) },
  { title: 'COMMENT', value: ({ comment }) => comment },
]

/** key add, list, remove. */
export function keyCommands(program: Command, context: Context): void {
  const key = program.command('key').description('manage the public keys that users log in with')
  key
    .command('add')
    .description('register a public key')
    .argument('<tenant>')
    .argument('<user>')
    .argument('<file>', 'a .pub file, or - for stdin')
    .option(
      '--expires <time>',
      'the last day or time of the key: 2027-01-31, 90d',
      parseMomentOption,
    )
    .option('--verify-required', 'accept a security key only after a PIN or a fingerprint')
    .addOption(jsonOption())
    .action(
      async (
        slug: string,
        user: string,
        file: string,
        {
          expires,
          verifyRequired = false,
          json,
        }: JsonOption & { readonly expires?: string; readonly verifyRequired?: boolean },
      ) => {
        const line = await readText(file, context.terminal)
        const parsed = parsePublicKey(line)
        if ('problem' in parsed) throw new KeyFileRefused(file, parsed.problem)
        const added = await context.withTenant('key add', slug, ({ auth }, tenant) =>
          auth.addKey(
            tenant.id,
            user,
            line,
            { verifyRequired, ...(expires === undefined ? {} : { expiresAt: expires }) },
            context.actor,
          ),
        )
        const text = `added ${added.type} ${added.fingerprint} for ${user}`
        await context.printDone(json, toJson(added), text)
      },
    )
  key
    .command('list')
    .description('list the keys of a tenant, or of one user')
    .argument('<tenant>')
    .argument('[user]')
    .addOption(jsonOption())
    .action(async (slug: string, user: string | undefined, { json }: JsonOption) => {
      const list = await context.withTenant('key list', slug, ({ auth }, tenant) =>
        auth.listKeys(tenant.id, user),
      )
      await context.printList(list, { json, columns, toJson, none: 'no keys yet' })
    })
  key
    .command('remove')
    .description('remove a key')
    .argument('<tenant>')
    .argument('<fingerprint>', 'SHA256:…, as printed by `key list`')
    .addOption(jsonOption())
    .action(async (slug: string, fingerprint: string, { json }: JsonOption) => {
      const removed = await context.withTenant('key remove', slug, ({ auth }, tenant) =>
        auth.removeKey(tenant.id, fingerprint, context.actor),
      )
      await context.printDone(json, toJson(removed), `removed ${fingerprint} of ${removed.user}`)
    })
}

function toJson({ fingerprint, type, user, comment, createdAt, expiresAt }: UserKey): object {
  return { fingerprint, type, user, comment, createdAt, expiresAt: expiresAt ?? null }
}
