import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { WrongUsage } from '../errors.ts'
import { readableTime } from '../moment.ts'
import { type JsonOption, jsonOption } from './options.ts'

/** web-login: a link that signs one person in to the pages, once. */
export function webLoginCommand(program: Command, context: Context): void {
  program
    .command('web-login')
    .description('print a one-time sign-in link for the portal or the admin plane')
    .argument('[tenant]')
    .argument('[user]')
    .option(
      '--admin <name>',
      'make a link for this administrator of the platform; creates the account on first use',
    )
    .addOption(jsonOption())
    .action(
      async (
        slug: string | undefined,
        user: string | undefined,
        { admin, json }: JsonOption & { readonly admin?: string },
      ) => {
        const link = await makeLink(context, slug, user, admin)
        if (json === true) return context.printJson(link)
        await context.print(link.url)
        const until = readableTime(link.expiresAt)
        context.terminal.stderr.write(`the link works once, until ${until} UTC\n`)
      },
    )
}

async function makeLink(
  context: Context,
  slug: string | undefined,
  user: string | undefined,
  admin: string | undefined,
): Promise<{ readonly url: string; readonly expiresAt: string }> {
  if (admin !== undefined && slug === undefined) {
    return context.withProduct('web-login', async ({ adminAuth, run }) => {
      const { token, expiresAt } = await adminAuth.createLoginLink(admin, context.actor)
      return { url: `${run.admin}/login?token=${token}`, expiresAt }
    })
  }
  if (admin !== undefined || slug === undefined || user === undefined) {
    throw new WrongUsage('give either TENANT USER or --admin NAME')
  }
  return context.withTenant('web-login', slug, async ({ auth, run }, tenant) => {
    const { token, expiresAt } = await auth.createLoginLink(tenant.id, user, context.actor)
    return { url: `${run.publicUrl}/login?token=${token}`, expiresAt }
  })
}
