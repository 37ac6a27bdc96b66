-- What a bare statement of a login could fill: the rows of processes, and the disk by temporary tables. And
-- what it could leave for ever: sessions of no process.

create index node_instance_lease on node_instance (lease_until);
create index session_sought_instance on session (instance) where recording_sought;

-- A row of a process may go an hour after its lease ran out, it ended and was settled, when nothing points to
-- it: no open session, and no recording that is still looked for. These times are this database's
-- (node_keep_end). A process that comes back later finds that it has lost its lease.
create function node_may_go(instance public.node_instance) returns boolean
  language sql stable set search_path = pg_catalog, pg_temp as $$
  select greatest(instance.lease_until, instance.ended_at, instance.settled_at)
      < statement_timestamp() - interval '1 hour'
    and not exists (select from public.session s where s.instance = instance.id and s.ended_at is null)
    and not exists (select from public.session s where s.instance = instance.id and s.recording_sought)
$$;
create function node_keep_row() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  -- In another isolation it would not see the sessions that began after its first statement.
  if current_setting('transaction_isolation') <> 'read committed' or not public.node_may_go(old) then
    raise exception using errcode = 'VT022', message = 'this instance is still asked for';
  end if;
  return old;
end
$$;
create trigger keep_row before delete on node_instance
  for each row execute function node_keep_row();

-- There are never many rows. Where there are, an insert makes room first: no node may run that sweeps.
create function node_make_room() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if (select count(*) from (select from public.node_instance limit 2000) n) < 2000 then
    return new;
  end if;
  delete from public.node_instance where id in (
    select i.id from public.node_instance i
      where i.lease_until < statement_timestamp() - interval '1 hour' and public.node_may_go(i)
      order by i.lease_until limit 200 for update skip locked);
  if not found then
    raise exception using errcode = 'VT026', message = 'too many processes hold a lease';
  end if;
  return new;
end
$$;
create trigger make_room before insert on node_instance
  for each row execute function node_make_room();
revoke execute on function node_may_go, node_keep_row, node_make_room from public;
grant execute on function node_may_go to vaultterm_system;
grant delete on node_instance to vaultterm_system;

-- A session begins as one of a process with a lease, or nobody would end it. The connection says of which.
create function session_require_instance() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from public.node_instance n where n.id = new.instance and n.ended_at is null) then
    raise exception using errcode = 'VT018', message = 'a session is one of a process with a lease';
  end if;
  return new;
end
$$;
revoke execute on function session_require_instance from public;
create trigger require_instance before insert on session
  for each row when (new.ended_at is null) execute function session_require_instance();

-- Those that were made without one end like those of a process that is lost. Row security holds an owner too.
do $$
declare
  nobody uuid := gen_random_uuid();
begin
  alter table session no force row level security;
  alter table session disable trigger keep_end;
  update session s set instance = nobody
    where ended_at is null and not exists (select from node_instance n where n.id = s.instance);
  if found then
    insert into node_instance (id, node, lease_ms, lease_until) values (nobody, 'unknown', 1000, now());
  end if;
  alter table session enable trigger keep_end;
  alter table session force row level security;
end
$$;

-- Nobody of ours makes temporary tables, and each login could fill the disk of the database with them.
do $$
begin
  execute format('revoke temporary on database %I from public', current_database());
end
$$;
