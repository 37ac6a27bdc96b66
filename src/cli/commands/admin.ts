import type { Command } from 'commander'
import type { Administrator } from '../../auth/index.ts'
import type { Context } from '../context.ts'
import { readableTime } from '../moment.ts'
import type { Column } from '../table.ts'
import { type JsonOption, jsonOption } from './options.ts'

const columns: readonly Column<Administrator>[] = [
  { title: 'ADMIN', value: ({ name }) => name },
  { title: 'SIGNED IN', value: ({ sessions }) => (sessions === 0 ? '-' : String(sessions)) },
  { title: 'ADDED', value: ({ createdAt }) => readableTime(createdAt) },
]

/** admin list, remove, forget-passkeys. */
export function adminCommands(program: Command, context: Context): void {
  const admin = program.command('admin').description('administrators of the platform')
  admin
    .command('list')
    .description('list the administrators, and the number of browsers where each is signed in')
    .addOption(jsonOption())
    .action(async ({ json }: JsonOption) => {
      const list = await context.withProduct('admin list', ({ adminAuth }) =>
        adminAuth.listAdministrators(),
      )
      const none = 'no administrators yet: `vaultterm web-login --admin NAME` makes one'
      await context.printList(list, { json, columns, toJson, none })
    })
  admin
    .command('remove')
    .description('remove an administrator: their sign-in links and browser sessions end at once')
    .argument('<name>')
    .addOption(jsonOption())
    .action(async (name: string, { json }: JsonOption) => {
      const removed = await context.withProduct('admin remove', ({ adminAuth }) =>
        adminAuth.removeAdministrator(name, context.actor),
      )
      const { sessions } = removed
      const ended =
        sessions === 0 ? '' : `; ended ${sessions} browser session${sessions === 1 ? '' : 's'}`
      await context.printDone(json, toJson(removed), `removed administrator ${name}${ended}`)
    })
  admin
    .command('forget-passkeys')
    .description('remove all passkeys of an administrator who lost them, and sign them out')
    .argument('<name>')
    .addOption(jsonOption())
    .action(async (name: string, { json }: JsonOption) => {
      const count = await context.withProduct('admin forget-passkeys', ({ adminAuth }) =>
        adminAuth.forgetPasskeysOf(name, context.actor),
      )
      const next = `vaultterm web-login --admin ${name}`
      await context.printDone(json, { name, count }, `removed ${count} passkeys; next: ${next}`)
    })
}

function toJson({ id, name, createdAt, sessions }: Administrator): object {
  return { id, name, createdAt, sessions }
}
