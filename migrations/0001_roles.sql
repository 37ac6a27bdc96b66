-- Four roles serve, and none of them owns a table, can bypass row security or log in by itself.
-- A login role is made a member of the ones it may take on; `set role` narrows a shared login:
--   vaultterm_app, vaultterm_bastion   serve, each inside one tenant at a time
--   vaultterm_system                   looks across tenants for the application, policy by policy
--   vaultterm_directory                finds a tenant by its name for the bastion, and nothing else
do $$
declare
  wanted text;
begin
  foreach wanted in array
    array['vaultterm_app', 'vaultterm_bastion', 'vaultterm_system', 'vaultterm_directory']
  loop
    -- Roles belong to the server, not to the database: another database may have made them.
    if not exists (select from pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin nobypassrls nocreatedb nocreaterole', wanted);
      exception when duplicate_object or unique_violation then
        null; -- Another database's migration was faster.
      end;
    end if;
    -- For an installation where one login owns, migrates and serves: it may take each role on, and
    -- until it does, none of their policies lets it see more (before version 16 there was no such
    -- membership).
    begin
      execute format('grant %I to current_user %s', wanted,
        case when current_setting('server_version_num')::int >= 160000
          then 'with inherit false, set true' end);
    exception when insufficient_privilege then
      null; -- The operator made the roles, and grants them to logins of their own.
    end;
  end loop;
end
$$;

revoke all on schema public from public;
grant usage on schema public
  to vaultterm_app, vaultterm_bastion, vaultterm_system, vaultterm_directory;
grant select on schema_migration to vaultterm_system, vaultterm_directory;

-- The tenant of the transaction. After a commit the setting is '' and not null: neither is a tenant.
create function app_tenant_id() returns uuid
  language sql stable parallel safe
  return nullif(current_setting('app.tenant_id', true), '')::uuid;
