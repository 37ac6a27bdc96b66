-- Who people are: users, the keys they prove themselves with, and their web sessions. Users of the
-- platform itself (the nil tenant) are its administrators; they have no SSH keys.

create table app_user (
  tenant_id  uuid not null default app_tenant_id() references tenant,
  id         uuid not null default gen_random_uuid(),
  name       text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  role       text not null check (role in ('owner', 'admin', 'member', 'auditor')),
  email      text check (length(email) between 3 and 254),
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, name)
);
alter table app_user enable row level security, force row level security;
create policy own on app_user using (tenant_id = app_tenant_id());
grant select, insert (name, role, email), delete on app_user to vaultterm_app;

create table user_key (
  tenant_id   uuid not null default app_tenant_id() references tenant,
  id          uuid not null default gen_random_uuid(),
  user_id     uuid not null,
  type        text not null,
  -- Looked up whole, as bytes: two spellings of a fingerprint could be one key, two blobs never.
  blob        bytea not null check (octet_length(blob) <= 8192),
  fingerprint text not null,
  comment     text not null default '' check (length(comment) <= 200),
  created_at  timestamptz not null default now(),
  expires_at  timestamptz,
  primary key (tenant_id, id),
  unique (tenant_id, blob),
  unique (tenant_id, fingerprint),
  foreign key (tenant_id, user_id) references app_user (tenant_id, id) on delete cascade,
  check (tenant_id <> '00000000-0000-0000-0000-000000000000')
);
create index user_key_user on user_key (tenant_id, user_id);
alter table user_key enable row level security, force row level security;
create policy own on user_key using (tenant_id = app_tenant_id());
grant select, insert (user_id, type, blob, fingerprint, comment, expires_at), delete
  on user_key to vaultterm_app;

-- One-time sign-in links and the sessions they become. Only hashes of what people hold are here.
create table login_link (
  tenant_id  uuid not null default app_tenant_id() references tenant,
  id         uuid not null default gen_random_uuid(),
  user_id    uuid not null,
  token_hash bytea not null check (octet_length(token_hash) = 32),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (tenant_id, id),
  unique (tenant_id, token_hash),
  foreign key (tenant_id, user_id) references app_user (tenant_id, id) on delete cascade
);
alter table login_link enable row level security, force row level security;
create policy own on login_link using (tenant_id = app_tenant_id());
grant select, insert (user_id, token_hash, expires_at), delete on login_link to vaultterm_app;

create table web_session (
  tenant_id   uuid not null default app_tenant_id() references tenant,
  id          uuid not null default gen_random_uuid(),
  user_id     uuid not null,
  cookie_hash bytea not null check (octet_length(cookie_hash) = 32),
  created_at  timestamptz not null default now(),
  seen_at     timestamptz not null default now(),
  expires_at  timestamptz not null,
  primary key (tenant_id, id),
  unique (tenant_id, cookie_hash),
  foreign key (tenant_id, user_id) references app_user (tenant_id, id) on delete cascade
);
create index web_session_user on web_session (tenant_id, user_id);
alter table web_session enable row level security, force row level security;
create policy own on web_session using (tenant_id = app_tenant_id());
grant select, insert (user_id, cookie_hash, expires_at), update (seen_at), delete
  on web_session to vaultterm_app;
