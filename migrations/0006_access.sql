-- Who may open what, and who did. The bastion's role has no grant on any table here: it asks.

create table target (
  tenant_id  uuid not null default app_tenant_id() references tenant,
  id         uuid not null default gen_random_uuid(),
  name       text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
  host       text not null check (length(host) between 1 and 253),
  port       integer not null check (port between 1 and 65535),
  -- The first is the default.
  logins     text[] not null check (cardinality(logins) between 1 and 32),
  auth       text not null default 'key' check (auth = 'key'),
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  unique (tenant_id, name),
  check (tenant_id <> '00000000-0000-0000-0000-000000000000')
);
alter table target enable row level security, force row level security;
create policy own on target using (tenant_id = app_tenant_id());
grant select, insert (name, host, port, logins, auth), delete on target to vaultterm_app;

-- The keys a target may show us, whole. Nothing is proved to a host that shows another.
create table target_host_key (
  tenant_id uuid not null default app_tenant_id() references tenant,
  target_id uuid not null,
  type      text not null,
  blob      bytea not null check (octet_length(blob) <= 8192),
  primary key (tenant_id, target_id, blob),
  foreign key (tenant_id, target_id) references target (tenant_id, id) on delete cascade
);
alter table target_host_key enable row level security, force row level security;
create policy own on target_host_key using (tenant_id = app_tenant_id());
grant select, insert (target_id, type, blob), delete on target_host_key to vaultterm_app;

-- Lets one user, or all of a role, open one target, or with no target every one.
create table access_grant (
  tenant_id  uuid not null default app_tenant_id() references tenant,
  id         uuid not null default gen_random_uuid(),
  user_id    uuid,
  role       text check (role in ('owner', 'admin', 'member', 'auditor')),
  target_id  uuid,
  -- None means each of the target's.
  logins     text[] not null default '{}' check (cardinality(logins) <= 32),
  allow      text[] not null check (cardinality(allow) > 0 and allow <@ array[
    'shell', 'exec', 'sftp', 'forward', 'remote-forward', 'agent', 'x11', 'jump']),
  -- From then on it gives nothing.
  until      timestamptz,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id),
  constraint access_grant_whose check (num_nonnulls(user_id, role) = 1),
  foreign key (tenant_id, user_id) references app_user (tenant_id, id) on delete cascade,
  foreign key (tenant_id, target_id) references target (tenant_id, id) on delete cascade
);
create index access_grant_user on access_grant (tenant_id, user_id);
create index access_grant_target on access_grant (tenant_id, target_id);
alter table access_grant enable row level security, force row level security;
create policy own on access_grant using (tenant_id = app_tenant_id());
grant select, insert (user_id, role, target_id, logins, allow, until), delete
  on access_grant to vaultterm_app;

-- Who was where, and when. Everything is kept by value: a user or a target that is removed must not
-- take its past along, so there is no foreign key but the tenant's.
create table session (
  tenant_id          uuid not null default app_tenant_id() references tenant,
  -- Version 7, so that the order of ids is that of starts.
  id                 uuid not null,
  user_id            uuid not null,
  user_name          text not null,
  key_fingerprint    text not null,
  target_id          uuid not null,
  target_name        text not null,
  login              text not null,
  kind               text not null check (kind in
    ('shell', 'exec', 'sftp', 'forward', 'remote-forward', 'agent', 'x11', 'jump')),
  -- As the client sent it: not every command is text.
  command            bytea check (octet_length(command) <= 262144),
  source             text not null check (length(source) <= 256),
  client_ident       text not null check (length(client_ident) <= 256),
  node               text not null check (length(node) between 1 and 256),
  started_at         timestamptz not null default now(),
  opened_at          timestamptz,
  ended_at           timestamptz,
  reason             text check (length(reason) <= 256),
  exit_status        bigint check (exit_status between 0 and 4294967295),
  exit_signal        text check (length(exit_signal) <= 256),
  bytes              bigint not null default 0 check (bytes >= 0),
  -- Whether there is, or is to be, a recording; the digest once it is whole.
  recording          boolean not null,
  recording_sha256   bytea check (octet_length(recording_sha256) = 32),
  recording_bytes    bigint,
  recording_events   bigint,
  recording_complete boolean,
  killed_at          timestamptz,
  kill_reason        text check (length(kill_reason) <= 256),
  primary key (tenant_id, id),
  check (tenant_id <> '00000000-0000-0000-0000-000000000000')
);
create index session_live on session (tenant_id, id) where ended_at is null;
alter table session enable row level security, force row level security;
create policy own on session using (tenant_id = app_tenant_id());
-- An operator names a session by its id alone, and a node asks what its last process left open.
create policy directory on session for select to vaultterm_system using (true);
create index session_id on session (id);
create index session_unended on session (node) where ended_at is null;
-- What began is never rewritten, and no session is deleted.
grant select,
  insert (id, user_id, user_name, key_fingerprint, target_id, target_name, login, kind, command,
    source, client_ident, node, recording),
  update (opened_at, ended_at, reason, exit_status, exit_signal, bytes, recording,
    recording_sha256, recording_bytes, recording_events, recording_complete, killed_at,
    kill_reason) on session to vaultterm_app;
grant select (tenant_id, id, node, ended_at) on session to vaultterm_system;

-- Whatever takes access away, and whoever does it, every node hears that it must look again.
create function access_changed() returns trigger language plpgsql as $$
begin
  perform pg_notify('vaultterm_access_change', old.tenant_id::text);
  return null;
end
$$;
create trigger access_changed after delete on access_grant
  for each row execute function access_changed();
create trigger access_changed after delete on target
  for each row execute function access_changed();
create trigger access_changed after update or delete on app_user
  for each row execute function access_changed();
create trigger access_changed after delete on user_key
  for each row execute function access_changed();
create trigger access_changed after update of suspended_at on tenant
  for each row when (new.suspended_at is not null) execute function access_changed();
