-- What a bare statement of a login could fill: the rows of processes, and the disk by temporary tables.

create index node_instance_lease on node_instance (lease_until);
create index session_sought_instance on session (instance) where recording_sought;

-- A row of a process may go an hour after its lease ran out, when nothing points to it: no open session, and
-- no recording that is still looked for. A process that comes back later finds that it has lost its lease.
create function node_may_go(instance public.node_instance) returns boolean
  language sql stable set search_path = pg_catalog, pg_temp as $$
  select instance.lease_until < statement_timestamp() - interval '1 hour'
    and not exists (select from public.session s where s.instance = instance.id and s.ended_at is null)
    and not exists (select from public.session s where s.instance = instance.id and s.recording_sought)
$$;
create function node_keep_row() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if not public.node_may_go(old) then
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

-- Nobody of ours makes temporary tables, and each login could fill the disk of the database with them.
do $$
begin
  execute format('revoke temporary on database %I from public', current_database());
end
$$;
