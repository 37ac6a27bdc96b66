import { expect, test } from 'vitest'
import { openTestDatabase } from '../support/postgres.ts'

/**
 * Everything that anybody but an owner may do in a migrated database: one line for each role, kind of act
 * and thing. A line that is new here is a decision. A role that does not use a privilege must not have it.
 */
const { superuser } = await openTestDatabase()

const privileges = {
  /** Everybody. */
  public: [],
  vaultterm_app: [
    'delete table access_grant',
    'delete table app_user',
    'delete table job_progress',
    'delete table login_link',
    'delete table passkey',
    'delete table passkey_challenge',
    'delete table request_once',
    'delete table step_up_proof',
    'delete table target',
    'delete table target_host_key',
    'delete table user_certificate',
    'delete table user_key',
    'delete table web_session',
    'execute function app_instance()',
    'execute function app_tenant_id()',
    'execute function audit_append(uuid,bytea,bytea,bytea,bytea)',
    'execute function audit_lock()',
    'execute function audit_publish(bigint,bytea[],text)',
    'execute function certificate_authority_require(text,integer,text,bigint)',
    'execute function notify_if_room(text,text)',
    'execute function pgboss.job_now()',
    'execute function session_kill(uuid,uuid,bytea,bytea,bytea,bytea)',
    'execute function user_role_change(uuid,uuid,bytea,bytea,bytea,bytea)',
    'execute function vault_kek_replace(integer,bytea,bytea)',
    'execute function vault_require_unsealed()',
    'execute function web_session_open(bytea,uuid,bytea,bytea,bytea,bytea)',
    'execute function web_session_renew(bytea,uuid,bytea,bytea,bytea,bytea)',
    'insert columns access_grant: allow forwards logins role target_id until user_id',
    'insert columns app_user: email name role',
    'insert columns certificate_authority: activated_at fingerprint generation kind public_key state',
    'insert columns certificate_revocation: fingerprint generation key_id kind serial',
    'insert columns job_progress: done job_id note total',
    'insert columns job_schedule: due_at name',
    'insert columns login_link: expires_at token_hash user_id',
    'insert columns passkey: counter credential_id id name public_key synced tag transports user_id',
    'insert columns passkey_challenge: expires_at hash purpose user_id web_session_id',
    'insert columns pgboss.job_common: blocked blocking created_on data dead_letter deletion_seconds expire_seconds group_id group_tier heartbeat_seconds id keep_until name pending_dependencies policy priority retry_backoff retry_delay retry_delay_max retry_limit singleton_key singleton_on start_after trace_context',
    'insert columns recording_witness: at bytes chain offsets session_id',
    'insert columns request_once: digest key user_id',
    'insert columns security_key_counter: counter fingerprint',
    'insert columns session: certificate_generation certificate_key_id certificate_serial client_ident command id key_fingerprint kind login node recording source target_generation target_id target_name user_id user_name via',
    'insert columns target: auth host logins name port',
    'insert columns target_host_key: blob target_id type',
    'insert columns tenant: name slug tenant_id',
    'insert columns user_certificate: expires_at fingerprint generation serial user_id',
    'insert columns user_key: blob comment created_at expires_at fingerprint id tag type used_at user_id verify_required',
    'insert columns vault_kek: records_tagged version wrapped',
    'insert columns vault_secret: dek kek_version path private_key public_key rotation_policy version',
    'insert columns vault_state: kek_id seal_check',
    'select columns node_instance: ended_at id',
    'select table access_grant',
    'select table app_user',
    'select table audit_checkpoint',
    'select table audit_leaf',
    'select table audit_private',
    'select table audit_tree',
    'select table certificate_authority',
    'select table certificate_revocation',
    'select table job_progress',
    'select table job_schedule',
    'select table login_link',
    'select table passkey',
    'select table passkey_challenge',
    'select table pgboss.job',
    'select table pgboss.job_common',
    'select table pgboss.queue',
    'select table recording_witness',
    'select table request_once',
    'select table security_key_counter',
    'select table session',
    'select table step_up_proof',
    'select table target',
    'select table target_host_key',
    'select table tenant',
    'select table user_certificate',
    'select table user_key',
    'select table vault_kek',
    'select table vault_secret',
    'select table vault_state',
    'select table web_session',
    'update columns app_user: arrived_at',
    'update columns certificate_authority: activated_at last_serial retired_at state',
    'update columns job_progress: at done note total',
    'update columns job_schedule: due_at',
    'update columns passkey: counter used_at',
    'update columns pgboss.job: blocked completed_on output pending_dependencies retry_limit start_after state',
    'update columns pgboss.job_common: blocked completed_on output pending_dependencies retry_limit start_after state',
    'update columns recording_witness: at bytes chain offsets',
    'update columns request_once: answer',
    'update columns security_key_counter: counter seen_at',
    'update columns session: bytes end_known ended_at exit_signal exit_status opened_at reason recording recording_bytes recording_complete recording_events recording_intact recording_sha256 recording_sought',
    'update columns target: auth generation host host_certified logins port tag',
    'update columns tenant: suspended_at',
    'update columns user_key: tag used_at',
    'update columns vault_state: changed_at open_proof sealed',
    'update columns web_session: seen_at',
    'usage schema pgboss',
    'usage schema public',
  ],
  vaultterm_audit: [
    'delete table audit_checkpoint',
    'delete table audit_unsigned',
    'execute function app_instance()',
    'execute function app_tenant_id()',
    'execute function audit_canonical(jsonb)',
    'execute function audit_grow(bytea[],bigint,bytea)',
    'execute function audit_hmac(bytea,bytea)',
    'execute function audit_restore_head()',
    'execute function audit_thin()',
    'insert columns audit_checkpoint: hashes note size',
    'insert columns audit_leaf: event_id leaf leaf_hash leaf_index',
    'insert columns audit_private: event_id payload salt',
    'insert columns audit_tree: tenant_id',
    'insert columns audit_unsigned: tenant_id',
    'select columns node_instance: ended_at id',
    'select table audit_checkpoint',
    'select table audit_leaf',
    'select table audit_tree',
    'update columns audit_tree: first_leaf hashes origin signed_size size thinned_at',
    'update columns audit_unsigned: since',
    'usage schema public',
  ],
  /** Nothing: it takes on the directory's role to find a tenant. */
  vaultterm_bastion: ['usage schema public'],
  vaultterm_directory: [
    'execute function app_tenant_id()',
    'select columns tenant: slug suspended_at tenant_id',
    'usage schema public',
  ],
  /** The queue's own tables, and none of ours. */
  vaultterm_jobs: [
    'delete table pgboss.instance',
    'delete table pgboss.job',
    'delete table pgboss.job_common',
    'delete table pgboss.job_dependency',
    'execute function pgboss.create_queue(text,jsonb)',
    'execute function pgboss.job_now()',
    'insert table pgboss.job',
    'insert table pgboss.job_common',
    'insert table pgboss.queue',
    'insert table pgboss.schedule',
    'select table pgboss.bam',
    'select table pgboss.instance',
    'select table pgboss.job',
    'select table pgboss.job_common',
    'select table pgboss.job_dependency',
    'select table pgboss.queue',
    'select table pgboss.schedule',
    'select table pgboss.version',
    'update columns pgboss.instance: stopped_on',
    'update columns pgboss.version: bam_on cron_on flow_on monitor_backoff_on reindex_on',
    'update table pgboss.job',
    'update table pgboss.job_common',
    'update table pgboss.queue',
    'update table pgboss.schedule',
    'usage schema pgboss',
  ],
  vaultterm_system: [
    'delete table node_instance',
    'execute function app_tenant_id()',
    'execute function node_may_go(node_instance)',
    'insert columns node_instance: id lease_ms lease_until node',
    'select columns access_grant: tenant_id until',
    'select columns pgboss.job: completed_on created_on data group_id id name output retry_count retry_limit start_after started_on state',
    'select columns session: ended_at id instance killed_at node recording_sought tenant_id',
    'select columns vault_kek: records_tagged tenant_id',
    'select table audit_unsigned',
    'select table node_instance',
    'select table schema_migration',
    'select table tenant',
    'update columns node_instance: ended ended_at lease_until recovered_by settled_at',
    'usage schema pgboss',
    'usage schema public',
  ],
  /** Mends a log, and owns everything but the door. */
  vaultterm_test_owner: [
    'execute function audit_append(uuid,bytea,bytea,bytea,bytea)',
    'execute function audit_begin_epoch()',
    'execute function audit_mend()',
    'execute function audit_remove_checkpoints(bigint[])',
  ],
}

test('gives each role the privileges that it uses, and nobody any other', async () => {
  const rows = await superuser<{ role: string; privilege: string; thing: string }>(`
    with ours as (
      select oid from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'),
    thing as (
      select 'table ' || oid::regclass as name, relacl as acl, relowner as owner from pg_class
        where relnamespace in (select oid from ours) and relkind in ('r', 'p', 'v', 'm', 'f')
      union all
      select 'sequence ' || oid::regclass, relacl, relowner from pg_class
        where relnamespace in (select oid from ours) and relkind = 'S'
      union all
      -- Without a list of its own, a function may be run by everybody.
      select 'function ' || oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner)), proowner
        from pg_proc where pronamespace in (select oid from ours)
      union all
      select 'schema ' || nspname, coalesce(nspacl, acldefault('n', nspowner)), nspowner
        from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
      union all
      select 'large object ' || oid, lomacl, lomowner from pg_largeobject_metadata
      union all
      select 'foreign server ' || srvname, srvacl, srvowner from pg_foreign_server
      union all
      select 'default of ' || defaclobjtype::text, defaclacl, 0 from pg_default_acl
    )
    select coalesce(nullif(g.grantee, 0)::regrole::text, 'public') as role,
        lower(g.privilege_type) || case when g.is_grantable then ' with grant option' else '' end
          as privilege,
        name as thing
      from thing, aclexplode(acl) g where g.grantee <> owner
    union all
    select coalesce(nullif(g.grantee, 0)::regrole::text, 'public'),
        lower(g.privilege_type) || case when g.is_grantable then ' with grant option' else '' end,
        'columns ' || c.oid::regclass || ': ' || string_agg(a.attname, ' ' order by a.attname collate "C")
      from pg_class c join pg_attribute a on a.attrelid = c.oid, aclexplode(a.attacl) g
      where c.relnamespace in (select oid from ours) and g.grantee <> c.relowner
      group by 1, 2, c.oid`)
  const found: Record<string, string[]> = Object.fromEntries(
    Object.keys(privileges).map((role) => [role, []]),
  )
  for (const { role, privilege, thing } of rows) {
    // The superuser that made the cluster gives schemas their first privileges.
    if (role === 'pg_database_owner') continue
    found[role] = [...(found[role] ?? []), `${privilege} ${thing}`].toSorted()
  }
  expect(found).toEqual(privileges)
})
