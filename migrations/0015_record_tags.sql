--! breaking
-- Public values that decide who gets in, or which host is the right one, carry a tag: a MAC under a
-- key of their tenant (docs/formats/envelope.md). Rows of other writers have none, and are not used.

alter table target add column tag bytea check (octet_length(tag) = 40);
grant update (tag) on target to vaultterm_app;
alter table user_key add column tag bytea check (octet_length(tag) = 40);
grant insert (tag), update (tag) on user_key to vaultterm_app;

-- Tenants from before this get their tags at the next start. The column only says where to look: a
-- tenant's key whose envelope is of the second format has its rows tagged.
alter table vault_kek add column records_tagged boolean not null default false;
grant insert (records_tagged) on vault_kek to vaultterm_app;
create index vault_kek_untagged on vault_kek (tenant_id) where not records_tagged;
create policy directory on vault_kek for select to vaultterm_system using (true);
grant select (tenant_id, records_tagged) on vault_kek to vaultterm_system;

-- The application updates no key in place but by this: the same key in an envelope of the second
-- format, once. False when the row is another one by now.
create function vault_kek_replace(of_version integer, old bytea, new bytea) returns boolean
  language plpgsql security definer set search_path = public, pg_temp as $$
begin
  if substring(old from 1 for 4) <> 'BVE1' or substring(new from 1 for 4) <> 'BVE2' then
    raise exception 'only a BVE1 envelope is replaced, by a BVE2 one';
  end if;
  update vault_kek set wrapped = new, records_tagged = true
    where tenant_id = app_tenant_id() and version = of_version and wrapped = old;
  return found;
end
$$;
revoke execute on function vault_kek_replace from public;
grant execute on function vault_kek_replace to vaultterm_app;
