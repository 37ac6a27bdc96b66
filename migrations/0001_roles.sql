-- Three roles serve, and none of them owns a table, can bypass row security or log in by itself.
-- A login role is made a member of the one it may take on; `set role` narrows a shared login.
do $$
declare
  wanted text;
begin
  foreach wanted in array array['vaultterm_app', 'vaultterm_bastion', 'vaultterm_system'] loop
    begin
      execute format('create role %I nologin nobypassrls nocreatedb nocreaterole', wanted);
    exception when duplicate_object then
      null; -- Roles belong to the server, not to the database: another database made it.
    end;
    execute format('grant %I to current_user', wanted);
  end loop;
end
$$;

revoke all on schema public from public;
grant usage on schema public to vaultterm_app, vaultterm_bastion, vaultterm_system;

-- The tenant of the transaction. After a commit the setting is '' and not null: neither is a tenant.
create function app_tenant_id() returns uuid
  language sql stable parallel safe
  return nullif(current_setting('app.tenant_id', true), '')::uuid;
