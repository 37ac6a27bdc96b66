import type { Secret } from '../secret.ts'

/**
 * The settings of a connection that change what a statement means, whether its effects are kept, or
 * whether the connection lives. Every login may give itself others for all its later connections
 * (`alter role current_user set …`), and a stolen one would leave them behind. Those that come with
 * the start of a connection go before them, at no cost.
 */
const fixed: Readonly<Record<string, string>> = {
  search_path: 'public,pg_temp',
  synchronous_commit: 'on',
  row_security: 'on',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  idle_session_timeout: '0',
  // A library that is not there refuses the connection.
  local_preload_libraries: '',
  // How values are written and read.
  datestyle: 'ISO,MDY',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  transform_null_equals: 'off',
  quote_all_identifiers: 'off',
}

/** The connection string with the settings above and these, which go after its own options. */
export function withSettings(
  url: Secret<string>,
  settings: Readonly<Record<string, string | number>>,
): string {
  const text = url.reveal()
  const query = text.indexOf('?')
  const own = query < 0 ? undefined : new URLSearchParams(text.slice(query)).get('options')
  const all = Object.entries({ ...fixed, ...settings }).map(
    ([name, value]) => `-c ${name}=${`${value}`.replaceAll(' ', '\\ ')}`,
  )
  const options = encodeURIComponent([own ?? '', ...all].join(' ').trim())
  // The last of two options is the one that counts.
  return `${text}${query < 0 ? '?' : '&'}options=${options}`
}

export const triggersOffText =
  'cannot be used: session_replication_role is not origin, so no trigger runs. Find out who set it, then, as a ' +
  'superuser, reset it: for the database, for the login, or for the server'

/** The state that the server returns for the check below. */
export const triggersOffState = 'VT028'

/**
 * Takes back what a login has set for itself and the start of a connection cannot: a limit that
 * servers before version 17 do not know, and a read-only state, which is also the operator's to set
 * for a database. The limit first, while it has not run out.
 *
 * Then refuses what only a superuser can set, and we cannot take back: that no trigger runs, neither
 * ours nor those of foreign keys.
 */
export const takeBackSettings = `
  select set_config('transaction_timeout', '0', false)
    where current_setting('server_version_num')::int >= 170000;
  select set_config('default_transaction_read_only', 'off', false)
    from pg_catalog.pg_db_role_setting s, unnest(s.setconfig) own
    where s.setrole = (select oid from pg_catalog.pg_roles where rolname = session_user)
      and own like 'default_transaction_read_only=%';
  do $$
  begin
    if current_setting('session_replication_role') <> 'origin' then
      raise exception using errcode = '${triggersOffState}', message = '${triggersOffText}';
    end if;
  end
  $$;`
