import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { administer } from '../postgres/index.ts'
import { Secret } from '../secret.ts'
import { HomeUnusable } from './errors.ts'
import { parsePrivateJson, readIfThere, writePrivateFile } from './private-file.ts'

/** The logins of the embedded database. Each can take on its own roles and no others. */
export const logins = {
  /** Owns the tables, makes the roles, migrates. No server uses it. */
  owner: { name: 'local_owner', roles: [], attributes: 'createrole' },
  app: { name: 'local_app', roles: ['vaultterm_app', 'vaultterm_system'], attributes: '' },
  /** Cannot read the tables of secrets, in any of its roles. */
  bastion: {
    name: 'local_bastion',
    roles: ['vaultterm_bastion', 'vaultterm_directory'],
    attributes: '',
  },
  /** Works the queue, and can read no table of ours. */
  jobs: { name: 'local_jobs', roles: ['vaultterm_jobs'], attributes: '' },
} as const

export const databaseName = 'vaultterm'

export type LoginName = keyof typeof logins

export type Passwords = Readonly<Record<LoginName | 'superuser', Secret<string>>>

const hidden = z
  .string()
  .min(1)
  .transform((text) => new Secret(text))
const content = z.object({
  superuser: hidden,
  owner: hidden,
  app: hidden,
  bastion: hidden,
  jobs: hidden,
})

/**
 * The passwords in a file, made on the first use. The file exists before the first login does. A file of a
 * home that is older than the queue gets a password for it.
 */
export async function keepPasswords(path: string): Promise<Passwords> {
  const text = await readIfThere(path)
  const known = text === undefined ? undefined : parsePasswords(path, text)
  if (known !== undefined && known.jobs !== undefined) return content.parse(known)
  const made =
    known === undefined ? newPasswords(Object.keys(content.shape)) : newPasswords(['jobs'])
  const all = content.parse({ ...known, ...made })
  await writePrivateFile(path, `${JSON.stringify({ ...known, ...made }, undefined, 2)}\n`)
  return all
}

function newPasswords(names: readonly string[]): { readonly [name: string]: string } {
  return Object.fromEntries(names.map((name) => [name, randomBytes(24).toString('base64url')]))
}

const stored = z.string().min(1)
const storedContent = z.object({
  superuser: stored,
  owner: stored,
  app: stored,
  bastion: stored,
  jobs: stored.optional(),
})

function parsePasswords(path: string, json: string): z.output<typeof storedContent> {
  try {
    return storedContent.parse(parsePrivateJson(json))
  } catch (err) {
    throw new HomeUnusable(
      path,
      'is damaged: it does not hold the logins of the embedded database. Restore it from a backup',
      err,
    )
  }
}

/**
 * Makes the database and its logins if they do not exist, and gives each login its password and no settings
 * of its own: a login may change both by itself, and one that was stolen would keep the server from starting.
 * It can be interrupted and run again.
 */
export function createLogins(superuser: Secret<string>, passwords: Passwords): Promise<void> {
  return administer(superuser, async (server) => {
    for (const login of ['owner', 'app', 'bastion', 'jobs'] as const) {
      const { name, attributes } = logins[login]
      const known = await server.many('select from pg_roles where rolname = $1', [name])
      const verb = known.length > 0 ? 'alter' : 'create'
      const password = server.literal(passwords[login].reveal())
      await server.many(
        `${verb} role ${name} with login nosuperuser password ${password} ${attributes}`,
      )
      await server.many(`alter role ${name} reset all`)
    }
    const known = await server.many('select from pg_database where datname = $1', [databaseName])
    if (known.length === 0)
      await server.many(`create database ${databaseName} owner ${logins.owner.name}`)
    for (const { name } of Object.values(logins))
      await server.many(`alter role ${name} in database ${databaseName} reset all`)
    await server.many(`revoke connect on database ${databaseName}, postgres, template1 from public`)
    const names = Object.values(logins).map(({ name }) => name)
    await server.many(`grant connect on database ${databaseName} to ${names.join(', ')}`)
  })
}

/**
 * Takes from all logins what Postgres lets everybody do: to make large objects, which no row security and no
 * grant of ours binds. Give it the superuser's connection to the database itself.
 */
export function refuseLargeObjects(superuser: Secret<string>): Promise<void> {
  return administer(superuser, async (server) => {
    await server.many(
      'revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public',
    )
  })
}

/** Grants each login its roles, which the first migration makes. */
export function grantRoles(superuser: Secret<string>): Promise<void> {
  return administer(superuser, async (server) => {
    for (const { name, roles } of Object.values(logins))
      if (roles.length > 0) await server.many(`grant ${roles.join(', ')} to ${name}`)
  })
}
