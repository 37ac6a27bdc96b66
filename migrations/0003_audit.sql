-- One append-only log for each tenant: an RFC 6962 tree over its leaves, in the order of commit.

-- The head of a log. Its row is the log's lock: who appends holds it until commit.
create table audit_tree (
  tenant_id uuid primary key default app_tenant_id() references tenant,
  -- Names the log in its leaves and checkpoints, and not the tenant to who only sees those.
  origin    text not null unique
    default 'vaultterm/t/' || replace(gen_random_uuid()::text, '-', ''),
  size      bigint not null default 0 check (size >= 0),
  -- The compact range: the root of each perfect subtree, largest first.
  hashes    bytea[] not null default '{}'
);

create table audit_leaf (
  tenant_id  uuid not null default app_tenant_id() references audit_tree,
  leaf_index bigint not null check (leaf_index >= 0),
  event_id   uuid not null,
  -- The exact bytes that are hashed: never jsonb, which reorders and rewrites.
  leaf       bytea not null check (octet_length(leaf) <= 8192),
  leaf_hash  bytea not null check (octet_length(leaf_hash) = 32),
  primary key (tenant_id, leaf_index),
  unique (tenant_id, event_id)
);

-- What a leaf commits to and does not show: names, addresses, commands.
create table audit_private (
  tenant_id uuid not null default app_tenant_id(),
  event_id  uuid not null,
  salt      bytea not null check (octet_length(salt) = 32),
  payload   bytea not null,
  primary key (tenant_id, event_id),
  foreign key (tenant_id, event_id) references audit_leaf (tenant_id, event_id)
);

create table audit_checkpoint (
  tenant_id  uuid not null default app_tenant_id() references audit_tree,
  size       bigint not null check (size > 0),
  -- The compact range at that size, from which the next checkpoint's consistency is recomputed.
  hashes     bytea[] not null,
  -- A C2SP signed note.
  note       text not null check (octet_length(note) <= 16384),
  created_at timestamptz not null default now(),
  primary key (tenant_id, size)
);

alter table audit_tree enable row level security, force row level security;
alter table audit_leaf enable row level security, force row level security;
alter table audit_private enable row level security, force row level security;
alter table audit_checkpoint enable row level security, force row level security;
create policy own on audit_tree using (tenant_id = app_tenant_id());
create policy own on audit_leaf using (tenant_id = app_tenant_id());
create policy own on audit_private using (tenant_id = app_tenant_id());
create policy own on audit_checkpoint using (tenant_id = app_tenant_id());
-- The publisher asks which logs have grown, and reads nothing of them.
create policy heads on audit_tree for select to vaultterm_system using (true);
create policy heads on audit_checkpoint for select to vaultterm_system using (true);

grant select, insert (tenant_id), update (size, hashes) on audit_tree to vaultterm_app;
grant select, insert (leaf_index, event_id, leaf, leaf_hash) on audit_leaf to vaultterm_app;
grant select, insert (event_id, salt, payload) on audit_private to vaultterm_app;
grant select, insert (size, hashes, note) on audit_checkpoint to vaultterm_app;
grant select (tenant_id, size) on audit_tree, audit_checkpoint to vaultterm_system;
-- The bastion appends, and can read back nothing that was appended.
grant select, update (size, hashes) on audit_tree to vaultterm_bastion;
grant insert (leaf_index, event_id, leaf, leaf_hash) on audit_leaf to vaultterm_bastion;
grant insert (event_id, salt, payload) on audit_private to vaultterm_bastion;

-- The owner is not bound by grants. A superuser is bound by nothing here: see docs/formats/checkpoint.md.
create function audit_refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'the audit log is append-only: % on % refused', tg_op, tg_table_name;
end
$$;
create trigger append_only before update or delete or truncate on audit_leaf
  for each statement execute function audit_refuse_change();
create trigger append_only before update or delete or truncate on audit_private
  for each statement execute function audit_refuse_change();
create trigger append_only before update or delete or truncate on audit_checkpoint
  for each statement execute function audit_refuse_change();
create trigger append_only before delete or truncate on audit_tree
  for each statement execute function audit_refuse_change();

create function audit_refuse_shrinking() returns trigger language plpgsql as $$
begin
  if new.size <> old.size + 1 or new.tenant_id <> old.tenant_id or new.origin <> old.origin then
    raise exception 'the audit log grows by one leaf at a time';
  end if;
  return new;
end
$$;
create trigger grows_by_one before update on audit_tree
  for each row execute function audit_refuse_shrinking();

-- No tenant without a log.
create function audit_open_log() returns trigger language plpgsql as $$
begin
  insert into audit_tree (tenant_id) values (new.tenant_id);
  return null;
end
$$;
create trigger audit_log after insert on tenant
  for each row execute function audit_open_log();

select set_config('app.tenant_id', '00000000-0000-0000-0000-000000000000', true);
insert into audit_tree (tenant_id) select tenant_id from tenant;
select set_config('app.tenant_id', '', true);
