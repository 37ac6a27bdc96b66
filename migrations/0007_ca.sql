-- Certificates: who signs them for a tenant, and which of them are good no more. The signing keys are
-- in the vault, at ca/<kind>/<generation>. The bastion's role has no grant on any table here.

-- Generations of a tenant's authorities. The next one is published before it signs, so that hosts
-- and people trust it by the time it does; a retired one is believed until what it signed has expired.
create table certificate_authority (
  tenant_id    uuid not null default app_tenant_id() references tenant,
  kind         text not null check (kind in ('user', 'host')),
  generation   integer not null check (generation > 0),
  state        text not null check (state in ('next', 'active', 'retired')),
  public_key   bytea not null check (octet_length(public_key) <= 1024),
  fingerprint  text not null,
  -- Serials count up from 1 in each generation, and are never given twice.
  last_serial  bigint not null default 0 check (last_serial >= 0),
  created_at   timestamptz not null default now(),
  activated_at timestamptz,
  retired_at   timestamptz,
  primary key (tenant_id, kind, generation),
  check ((state = 'retired') = (retired_at is not null))
);
create unique index certificate_authority_one on certificate_authority (tenant_id, kind, state)
  where state in ('next', 'active');
alter table certificate_authority enable row level security, force row level security;
create policy own on certificate_authority using (tenant_id = app_tenant_id());
grant select, insert (kind, generation, state, public_key, fingerprint, activated_at),
  update (state, last_serial, activated_at, retired_at) on certificate_authority to vaultterm_app;

-- What was revoked: one certificate, all with a key id, or whatever a key holds or signs. Nothing is
-- taken back: the lists that are made of this only grow.
create table certificate_revocation (
  tenant_id   uuid not null default app_tenant_id() references tenant,
  id          bigint not null generated always as identity,
  kind        text not null check (kind in ('user', 'host')),
  generation  integer,
  serial      bigint check (serial > 0),
  key_id      text check (length(key_id) between 1 and 1024),
  fingerprint text check (fingerprint ~ '^SHA256:[A-Za-z0-9+/]{43}$'),
  created_at  timestamptz not null default now(),
  primary key (tenant_id, id),
  check (num_nonnulls(serial, key_id, fingerprint) = 1),
  check ((serial is null) = (generation is null)),
  foreign key (tenant_id, kind, generation)
    references certificate_authority (tenant_id, kind, generation)
);
create unique index certificate_revocation_once on certificate_revocation
  (tenant_id, kind, coalesce(generation, 0), coalesce(serial, 0), coalesce(key_id, ''),
   coalesce(fingerprint, ''));
alter table certificate_revocation enable row level security, force row level security;
create policy own on certificate_revocation using (tenant_id = app_tenant_id());
grant select, insert (kind, generation, serial, key_id, fingerprint)
  on certificate_revocation to vaultterm_app;

create function certificate_revoked() returns trigger language plpgsql as $$
begin
  perform pg_notify('vaultterm_access_change', new.tenant_id::text);
  return null;
end
$$;
create trigger certificate_revoked after insert on certificate_revocation
  for each row execute function certificate_revoked();

-- A target may be logged in to with a certificate, and show one of ours itself.
alter table target drop constraint target_auth_check;
alter table target add constraint target_auth_check check (auth in ('key', 'cert'));
alter table target add column host_certified boolean not null default false;
grant update (host_certified) on target to vaultterm_app;

-- With which certificate somebody came, where it was one.
alter table session add column certificate_generation integer,
  add column certificate_serial bigint,
  add column certificate_key_id text;
grant insert (certificate_generation, certificate_serial, certificate_key_id)
  on session to vaultterm_app;

-- A security key may have to know its holder, and counts what it signs.
alter table user_key add column verify_required boolean not null default false;
grant insert (verify_required) on user_key to vaultterm_app;
create table security_key_counter (
  tenant_id   uuid not null default app_tenant_id() references tenant,
  fingerprint text not null,
  counter     bigint not null check (counter between 0 and 4294967295),
  seen_at     timestamptz not null default now(),
  primary key (tenant_id, fingerprint)
);
alter table security_key_counter enable row level security, force row level security;
create policy own on security_key_counter using (tenant_id = app_tenant_id());
grant select, insert (fingerprint, counter, seen_at), update (counter, seen_at)
  on security_key_counter to vaultterm_app;
