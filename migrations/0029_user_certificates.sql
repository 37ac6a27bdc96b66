-- The certificates for people's own keys: so that they see theirs, and so that a key that is taken away takes its
-- certificates with it. The certificate itself is not kept. From before there are none, which end within a day.
create table user_certificate (
  tenant_id   uuid not null default app_tenant_id() references tenant,
  id          uuid not null default gen_random_uuid(),
  user_id     uuid not null,
  generation  integer not null check (generation > 0),
  serial      bigint not null check (serial between 1 and 9007199254740991),
  -- Of the certified key.
  fingerprint text not null check (fingerprint ~ '^SHA256:[A-Za-z0-9+/]{43}$'),
  issued_at   timestamptz not null default now(),
  expires_at  timestamptz not null,
  primary key (tenant_id, id),
  unique (tenant_id, generation, serial),
  foreign key (tenant_id, user_id) references app_user (tenant_id, id) on delete cascade,
  constraint user_certificate_times_bound check (least(issued_at, expires_at) >= '0001-01-01 00:00:00+00'
    and greatest(issued_at, expires_at) <= '9999-12-31 23:59:59.999999+00')
);
create index user_certificate_user on user_certificate (tenant_id, user_id, expires_at);
alter table user_certificate enable row level security, force row level security;
create policy own on user_certificate using (tenant_id = app_tenant_id());
grant select, delete, insert (user_id, generation, serial, fingerprint, expires_at)
  on user_certificate to vaultterm_app;
