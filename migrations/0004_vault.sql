-- What must not be read, sealed: the rows are useless without the operator's key.
-- The bastion's role has no grant on any table here, and nothing is ever updated in place but the
-- state: a rotated key is a new version beside the old one.

-- One row for the whole vault. The seal check is a known text under the operator's key: a wrong
-- key is told from a damaged secret, and before anything is sealed under it.
create table vault_state (
  one        boolean primary key default true check (one),
  sealed     boolean not null default false,
  kek_id     text not null check (kek_id ~ '^[a-z0-9]+:[0-9a-f]{32}$'),
  seal_check bytea not null check (octet_length(seal_check) <= 4096),
  changed_at timestamptz not null default now()
);
alter table vault_state enable row level security, force row level security;
-- Every tenant's use of a key asks whether the vault is sealed; only the platform seals it.
create policy every on vault_state for select using (true);
create policy platform on vault_state
  using (app_tenant_id() = '00000000-0000-0000-0000-000000000000');
grant select,
  insert (sealed, kek_id, seal_check, changed_at),
  update (sealed, changed_at) on vault_state to vaultterm_app;

-- A tenant's key-encryption keys, wrapped under the operator's.
create table vault_kek (
  tenant_id  uuid not null default app_tenant_id() references tenant,
  version    integer not null check (version > 0),
  wrapped    bytea not null check (octet_length(wrapped) <= 4096),
  created_at timestamptz not null default now(),
  primary key (tenant_id, version)
);
alter table vault_kek enable row level security, force row level security;
create policy own on vault_kek using (tenant_id = app_tenant_id());
grant select, insert (version, wrapped) on vault_kek to vaultterm_app;

-- The tree of secrets: what stands at a path, in versions. private_key is sealed under dek, dek
-- under the tenant's key of kek_version. The newest version is the one in use.
create table vault_secret (
  tenant_id       uuid not null default app_tenant_id() references tenant,
  path            text not null check (path ~ '^[a-z0-9][a-z0-9_/-]{0,199}$'),
  version         integer not null check (version > 0),
  kek_version     integer not null,
  dek             bytea not null check (octet_length(dek) <= 4096),
  private_key     bytea not null check (octet_length(private_key) <= 65536),
  public_key      text not null check (octet_length(public_key) <= 16384),
  created_at      timestamptz not null default now(),
  last_rotated    timestamptz not null default now(),
  rotation_policy text not null check (rotation_policy ~ '^([1-9][0-9]{0,2}_days|never)$'),
  primary key (tenant_id, path, version),
  foreign key (tenant_id, kek_version) references vault_kek (tenant_id, version)
);
alter table vault_secret enable row level security, force row level security;
create policy own on vault_secret using (tenant_id = app_tenant_id());
grant select,
  insert (path, version, kek_version, dek, private_key, public_key, created_at, last_rotated,
    rotation_policy) on vault_secret to vaultterm_app;
