-- Each process that serves is an instance of a node and holds a lease, which it renews by this database's
-- clock. A name is kept in a file and files are copied: only the instance says whose a session is.
create table node_instance (
  -- Random, made anew at each start of a process, and in no file.
  id          uuid primary key,
  node        text not null check (node ~ '^[a-z0-9-]{1,64}$'),
  started_at  timestamptz not null default clock_timestamp(),
  lease_ms    integer not null check (lease_ms between 1000 and 3600000),
  -- From then on another process may end the instance; until one does, its owner may renew it.
  lease_until timestamptz not null,
  ended_at    timestamptz,
  ended       text check (ended in ('released', 'expired')),
  -- Of an ended one: the instance that ends the sessions it left.
  recovered_by uuid,
  -- All its sessions have an end.
  settled_at  timestamptz,
  check ((ended_at is null) = (ended is null))
);
create index node_instance_held on node_instance (lease_until) where ended_at is null;
create index node_instance_unsettled on node_instance (ended_at)
  where ended_at is not null and settled_at is null;
grant select, insert (id, node, lease_ms, lease_until),
  update (lease_until, ended_at, ended, recovered_by, settled_at) on node_instance
  to vaultterm_system;
-- Whoever appends to a log asks whether the instance of its connection still has its lease.
grant select (id, ended_at) on node_instance to vaultterm_app, vaultterm_audit;

-- The instance that a connection belongs to; null for an operator's command.
create function app_instance() returns uuid
  language sql stable parallel safe
  return nullif(current_setting('app.instance', true), '')::uuid;

-- A process that stood still while its lease ran out may wake at any moment, in the middle of anything:
-- the database writes nothing of it into a log once another process has ended its instance.
create function node_require_lease() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  own constant uuid := public.app_instance();
begin
  if own is not null and not exists (
    select from public.node_instance where id = own and ended_at is null) then
    raise exception using errcode = 'VT018', message = 'this process has lost its lease';
  end if;
  return new;
end
$$;
create trigger node_lease before insert on audit_leaf
  for each row execute function node_require_lease();
create trigger node_lease before insert on audit_checkpoint
  for each row execute function node_require_lease();
revoke execute on function node_require_lease, app_instance from public;
grant execute on function app_instance to vaultterm_app, vaultterm_audit;

-- A session belongs to the instance that started it: the connection says which, never the statement.
alter table session
  add column instance uuid default app_instance(),
  -- False: nobody knows when it ended, and ended_at is when that was put on record.
  add column end_known boolean not null default true,
  -- It ended without its node, and no node has found the file of its recording yet.
  add column recording_sought boolean not null default false,
  -- Who ended it: the kind of an actor and their id.
  add column killed_by text check (length(killed_by) <= 256);
-- Null: how much went through it is not known, as of a session that is live or was cut off.
alter table session alter column bytes drop not null, alter column bytes drop default;
grant update (end_known, recording_sought, killed_by) on session to vaultterm_app;
grant select (instance, recording_sought, killed_at) on session to vaultterm_system;
drop index session_unended;
create index session_unended on session (instance, tenant_id, id) where ended_at is null;
create index session_killed on session (instance, tenant_id)
  where ended_at is null and killed_at is not null;
create index session_sought on session (node, tenant_id, id) where recording_sought;

-- A node asks which of its tenants have a grant that has just run out, and reads nothing else of it.
create policy sweep on access_grant for select to vaultterm_system using (until is not null);
grant select (tenant_id, until) on access_grant to vaultterm_system;
create index access_grant_until on access_grant (until) where until is not null;

-- Sessions that processes of earlier versions have open are those of one instance, which nobody renews:
-- they have an hour to end. Row security holds an owner too, so it is lifted for this statement.
do $$
declare
  earlier uuid := gen_random_uuid();
begin
  alter table session no force row level security;
  update session set instance = earlier where ended_at is null;
  if found then
    insert into node_instance (id, node, lease_ms, lease_until)
      values (earlier, 'earlier-version', 3600000, now() + interval '1 hour');
  end if;
  alter table session force row level security;
end
$$;
