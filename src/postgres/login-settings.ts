import type { ReadTx } from './transaction.ts'

export interface LoginSetting {
  readonly login: string
  /** `name=value`, as the server keeps it. */
  readonly setting: string
}

const settingsMax = 20

/** What somebody has set for the database, or for all roles: it holds for each later connection. */
export async function listDatabaseSettings(tx: ReadTx): Promise<readonly string[]> {
  const found = await tx.many<{ setting: string }>(
    `select own as setting from pg_db_role_setting s, unnest(s.setconfig) own
     where s.setrole = 0
       and s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
     order by 1 limit ${settingsMax}`,
  )
  return found.map(({ setting }) => setting)
}

/**
 * What the logins that may serve, and the owner of the tables, have set for themselves, here or in
 * every database: it holds for each later connection of theirs.
 */
export function listLoginSettings(tx: ReadTx): Promise<LoginSetting[]> {
  return tx.many(
    `select r.rolname as login, own as setting
     from pg_db_role_setting s join pg_roles r on r.oid = s.setrole, unnest(s.setconfig) own
     where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
       and not r.rolsuper
       and (pg_has_role(r.oid, 'vaultterm_app', 'member')
         or pg_has_role(r.oid, 'vaultterm_bastion', 'member')
         or r.oid in (select relowner from pg_class where relnamespace = 'public'::regnamespace))
     order by 1, 2 limit ${settingsMax}`,
  )
}
