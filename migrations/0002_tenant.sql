-- Whose everything is. A tenant sees its own row; the system role, which finds tenants by name
-- before there is a tenant in the transaction, sees all of them.
create table tenant (
  tenant_id    uuid primary key,
  slug         text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  name         text not null check (length(name) between 1 and 200),
  created_at   timestamptz not null default now(),
  suspended_at timestamptz
);
alter table tenant enable row level security, force row level security;
create policy own on tenant using (tenant_id = app_tenant_id());
create policy every on tenant to vaultterm_system using (true) with check (true);

grant select on tenant to vaultterm_app, vaultterm_bastion;
grant insert (tenant_id, slug, name), update (name, suspended_at) on tenant to vaultterm_app;
grant select on tenant to vaultterm_system;
