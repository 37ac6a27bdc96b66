-- What mends a damaged log: called by the owner of the tables, and by no login that serves.

-- While one of these functions runs, the head may do what it never does otherwise.
create or replace function audit_refuse_shrinking() returns trigger language plpgsql as $$
begin
  if current_user = 'vaultterm_audit' and current_setting('vaultterm.audit_repair', true) = 'on' then
    return new;
  end if;
  if (new.tenant_id, new.origin, new.first_leaf) is distinct from (old.tenant_id, old.origin, old.first_leaf)
      or new.signed_size < old.signed_size
      or (new.size <> old.size + 1 and (new.size, new.hashes) is distinct from (old.size, old.hashes)) then
    raise exception 'the audit log grows by one leaf at a time';
  end if;
  return new;
end
$$;

-- Where somebody removed the head, the log of the last leaf has one again, of no size: its leaves say its
-- name, and where it begins.
create function audit_restore_head() returns void language plpgsql as $$
begin
  insert into public.audit_tree default values on conflict do nothing;
  if not found then
    return;
  end if;
  perform set_config('vaultterm.audit_repair', 'on', true);
  update public.audit_tree t set origin = named.log, first_leaf = named.first
    from (select convert_from(leaf, 'UTF8')::jsonb ->> 'log' as log, min(leaf_index) as first
          from public.audit_leaf group by 1 order by max(leaf_index) desc limit 1) named
    where named.log is not null and named.first >= 0;
  perform set_config('vaultterm.audit_repair', 'off', true);
end
$$;

-- Makes the head that of the stored leaves, whatever it was. Takes nothing from its caller but the tenant.
create function audit_mend() returns table (mended_size bigint, mended_hashes bytea[])
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  head public.audit_tree;
  stored record;
begin
  mended_size := 0;
  mended_hashes := '{}';
  perform public.audit_restore_head();
  select * into strict head from public.audit_tree for update;
  for stored in
    select leaf_index, leaf from public.audit_leaf where leaf_index >= head.first_leaf order by leaf_index
  loop
    if stored.leaf_index <> head.first_leaf + mended_size then
      raise exception using errcode = 'VT015', message = 'leaf ' || mended_size || ' is missing';
    end if;
    mended_hashes := public.audit_grow(
      mended_hashes, mended_size, sha256(decode('00', 'hex') || stored.leaf));
    mended_size := mended_size + 1;
  end loop;
  perform set_config('vaultterm.audit_repair', 'on', true);
  update public.audit_tree set size = mended_size, hashes = mended_hashes, signed_size = coalesce(
    (select max(c.size) - head.first_leaf from public.audit_checkpoint c
     where c.size > head.first_leaf and c.size <= head.first_leaf + mended_size), 0);
  perform set_config('vaultterm.audit_repair', 'off', true);
  insert into public.audit_unsigned default values on conflict do nothing;
  return next;
end
$$;

-- Removes checkpoints by how many leaves of the log they are for: those that our key did not sign.
create function audit_remove_checkpoints(sizes bigint[]) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  delete from public.audit_checkpoint
    -- Our numbers end there: a size beyond is told as that one.
    where least(size, 9007199254740991)
      = any (select t.first_leaf + one from public.audit_tree t, unnest(sizes) one);
end
$$;

-- Begins a new log behind the leaves of the one that is given up, which stay where they are. Answers its
-- name.
create function audit_begin_epoch() returns text
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  first bigint;
  name text := 'vaultterm/t/' || replace(gen_random_uuid()::text, '-', '');
begin
  perform public.audit_restore_head();
  perform from public.audit_tree for update;
  -- A first leaf that no log has is not where this one began.
  select greatest(case when t.first_leaf <= 4503599627370496 then t.first_leaf end,
      (select max(leaf_index) + 1 from public.audit_leaf),
      (select max(c.size) from public.audit_checkpoint c))
    into strict first from public.audit_tree t;
  if first > 4503599627370496 then
    raise exception using errcode = 'VT015', message = 'a row stands beyond every log, at ' || first;
  end if;
  perform set_config('vaultterm.audit_repair', 'on', true);
  update public.audit_tree
    set origin = name, first_leaf = first, size = 0, hashes = '{}', signed_size = 0;
  perform set_config('vaultterm.audit_repair', 'off', true);
  delete from public.audit_unsigned;
  return name;
end
$$;

revoke execute on function audit_restore_head, audit_mend, audit_remove_checkpoints, audit_begin_epoch
  from public;
grant execute on function audit_restore_head to vaultterm_audit;
grant select on audit_leaf to vaultterm_audit;
grant update (origin, first_leaf) on audit_tree to vaultterm_audit;

grant create on schema public to vaultterm_audit;
alter function audit_mend owner to vaultterm_audit;
alter function audit_remove_checkpoints owner to vaultterm_audit;
alter function audit_begin_epoch owner to vaultterm_audit;
revoke create on schema public from vaultterm_audit;
do $$
declare
  owner text := current_user;
begin
  set local role vaultterm_audit;
  execute format(
    'grant execute on function audit_mend, audit_remove_checkpoints, audit_begin_epoch, audit_append to %I',
    owner);
  reset role;
end
$$;
