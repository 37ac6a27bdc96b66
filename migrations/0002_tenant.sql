-- Whose everything is. A tenant sees its own row. Two roles see others, before there is a tenant
-- in the transaction: the system role all of a row, the bastion's directory only what it needs to
-- find a tenant by name. Neither sees the system's own (the nil UUID).
create table tenant (
  tenant_id    uuid primary key,
  slug         text not null unique,
  name         text not null check (length(name) between 1 and 200),
  created_at   timestamptz not null default now(),
  suspended_at timestamptz,
  constraint tenant_slug_check check (
    slug ~ '^[a-z0-9][a-z0-9-]{0,31}$'
    or (slug = '-' and tenant_id = '00000000-0000-0000-0000-000000000000'))
);
alter table tenant enable row level security, force row level security;
create policy own on tenant using (tenant_id = app_tenant_id());
create policy every on tenant for select to vaultterm_system, vaultterm_directory
  using (tenant_id <> '00000000-0000-0000-0000-000000000000');

grant select on tenant to vaultterm_app, vaultterm_bastion, vaultterm_system;
grant select (tenant_id, slug, suspended_at) on tenant to vaultterm_directory;
grant insert (tenant_id, slug, name), update (name, suspended_at) on tenant to vaultterm_app;

select set_config('app.tenant_id', '00000000-0000-0000-0000-000000000000', true);
insert into tenant (tenant_id, slug, name)
  values ('00000000-0000-0000-0000-000000000000', '-', 'VaultTerm');
select set_config('app.tenant_id', '', true);
