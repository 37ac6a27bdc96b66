-- The doors to the log judge the very leaf that they append; and no value that a login writes is so large, or
-- so far from our time, that its readers fail.

-- An append takes what src/audit/event.ts encodes, in its two parts: the name of the log goes in at one
-- place, and not where the caller likes. So a function that reads these parts reads what is logged.
-- Lengths come first: they cost nothing, and nobody waits for the lock meanwhile.
grant create on schema public to vaultterm_audit;
set local role vaultterm_audit;
create or replace function audit_append(id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  head public.audit_tree;
  own constant uuid := public.app_instance();
  whole text;
  parts jsonb;
  node bytea;
begin
  if octet_length(before) > 256 or octet_length(after) > 8192 or octet_length(payload) > 131072
      or before is distinct from convert_to(
        '{"$":"bastion.audit.event/v1","id":"' || id || '","log":"', 'UTF8') then
    raise exception using errcode = 'VT014', message = 'this is not a leaf of this log and event';
  end if;
  -- Row-level security leaves one row: the tenant's. Without one nothing is appended, nor done.
  select * into head from public.audit_tree for update;
  if not found or cardinality(head.hashes) <> bit_count(head.size::bit(64)) then
    raise exception using errcode = 'VT013',
      message = 'these are not the hashes of ' || coalesce(head.size, 0) || ' leaves';
  end if;
  -- Only now: the lease may have ended while this waited for the lock.
  if own is not null
      and not exists (select from public.node_instance n where n.id = own and n.ended_at is null) then
    raise exception using errcode = 'VT018', message = 'this process has lost its lease';
  end if;
  -- A year has four digits, as for who reads it. Whether the time is true nobody can tell here: an entry may
  -- have waited for days, and the checkpoints around it say when it came.
  whole := convert_from(before, 'UTF8') || head.origin || convert_from(after, 'UTF8');
  parts := whole::jsonb;
  if whole is distinct from '{"$":"bastion.audit.event/v1","id":"' || id || '","log":"' || head.origin || '"'
      || coalesce(',"pc":"' || (parts ->> 'pc') || '"', '')
      || ',"pub":' || public.audit_canonical(parts -> 'pub')
      || ',"ts":"' || to_char((parts ->> 'ts')::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
      || '","typ":"' || (parts ->> 'typ') || '"}'
      or length(parts ->> 'ts') <> 24 then
    raise exception using errcode = 'VT014', message = 'this is not a leaf of this log and event';
  end if;
  if parts ? 'pc' then
    if octet_length(salt) is distinct from 32 or payload is null
        or convert_from(payload, 'UTF8') <> public.audit_canonical(convert_from(payload, 'UTF8')::jsonb)
        or parts ->> 'pc' <> translate(encode(public.audit_hmac(salt,
          convert_to('bastion.audit.priv/v1', 'UTF8') || decode('00', 'hex') || uuid_send(id) || payload),
          'base64'), '+/=', '-_') then
      raise exception using errcode = 'VT014', message = 'the leaf does not commit to this payload';
    end if;
  elsif salt is not null or payload is not null then
    raise exception using errcode = 'VT014', message = 'the leaf does not commit to this payload';
  end if;
  node := sha256(decode('00', 'hex') || convert_to(whole, 'UTF8'));
  update public.audit_tree
    set size = head.size + 1, hashes = public.audit_grow(head.hashes, head.size, node);
  insert into public.audit_leaf (leaf_index, event_id, leaf, leaf_hash)
    values (head.first_leaf + head.size, id, convert_to(whole, 'UTF8'), node);
  if salt is not null then
    insert into public.audit_private (event_id, salt, payload) values (id, salt, payload);
  end if;
  if head.size <= head.signed_size then
    insert into public.audit_unsigned default values on conflict do nothing;
  end if;
  return head.size;
end
$$;

-- Keeps a signed checkpoint. False when another node's is as large: the log is one, and so is its note.
-- A signature is not verified here: who reads a checkpoint does. Each hash is one: a long one ended who read it.
create or replace function audit_publish(new_size bigint, new_hashes bytea[], new_note text) returns boolean
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  head public.audit_tree;
  root bytea;
  kept integer := cardinality(new_hashes);
begin
  if num_nulls(new_size, new_hashes, new_note) > 0 or kept > 63 or octet_length(new_note) > 16384
      or (kept > 0 and (array_ndims(new_hashes) <> 1 or array_lower(new_hashes, 1) <> 1))
      or exists (select from unnest(new_hashes) hash where octet_length(hash) is distinct from 32) then
    raise exception using errcode = 'VT014', message = 'the checkpoint is not of this log';
  end if;
  select * into head from public.audit_tree for update;
  if not found then
    raise exception using errcode = 'VT013', message = 'there is no log';
  end if;
  if new_size <= head.signed_size then
    return false;
  end if;
  if new_size > head.size or kept <> bit_count(new_size::bit(64)) then
    raise exception using errcode = 'VT014', message = 'the checkpoint is not of this log';
  end if;
  if new_size = head.size and new_hashes <> head.hashes then
    raise exception using errcode = 'VT014', message = 'the checkpoint is not of this log';
  end if;
  root := new_hashes[kept];
  for at in reverse kept - 1..1 loop
    root := sha256(decode('01', 'hex') || new_hashes[at] || root);
  end loop;
  if starts_with(new_note, head.origin || E'\n' || new_size || E'\n'
      || encode(root, 'base64') || E'\n\n' || E'\u2014' || ' ' || head.origin || ' ') is not true then
    raise exception using errcode = 'VT014', message = 'the checkpoint is not of this log';
  end if;
  insert into public.audit_checkpoint (size, hashes, note)
    values (head.first_leaf + new_size, new_hashes, new_note);
  update public.audit_tree set signed_size = new_size;
  if head.thinned_at < now() - interval '1 hour' then
    perform public.audit_thin();
    update public.audit_tree set thinned_at = now();
  end if;
  if new_size = head.size then
    delete from public.audit_unsigned;
  else
    -- Behind those that wait for a checkpoint longer.
    update public.audit_unsigned set since = now();
  end if;
  return true;
end
$$;
reset role;
revoke create on schema public from vaultterm_audit;

-- Both doors act first, because the log's lock is the last one that a transaction takes, and then compare what
-- they judged with the leaf that is stored.

-- Refuses to go on where the stored leaf of an event is another one than was judged (VT014).
create function audit_require_leaf(of_event uuid, judged jsonb) returns void
  language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if (select convert_from(l.leaf, 'UTF8')::jsonb - 'log' from public.audit_leaf l
      where l.tenant_id = public.app_tenant_id() and l.event_id = of_event)
      is distinct from judged - 'log' then
    raise exception using errcode = 'VT014', message = 'this is not the event that is on the log';
  end if;
end
$$;
revoke execute on function audit_require_leaf from public;

create or replace function session_kill(
  session_id uuid, event_id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  leaf constant jsonb := (convert_from(before, 'UTF8') || convert_from(after, 'UTF8'))::jsonb;
  facts constant jsonb := leaf -> 'pub';
  -- audit_append refuses a payload that the leaf does not commit to.
  words constant text := convert_from(payload, 'UTF8')::jsonb ->> 'reason';
  index bigint;
begin
  update public.session s
    set killed_at = now(),
      kill_reason = case when length(words) <= 200 then words
        else left(words, 100) || U&'\2026' || right(words, 99) end,
      killed_by = left((facts ->> 'actorKind') || ' ' || (facts ->> 'actor'), 256)
    where s.tenant_id = public.app_tenant_id() and s.id = session_id
      and s.ended_at is null and s.killed_at is null
      and leaf ->> 'typ' = 'session.kill' and facts ->> 'session' = s.id::text
      and facts ->> 'user' = s.user_id::text and facts ->> 'target' = s.target_id::text
      and words is not null;
  if not found then
    raise exception using errcode = 'VT014', message = 'this event ends no live session';
  end if;
  index := public.audit_append(event_id, before, after, salt, payload);
  perform public.audit_require_leaf(event_id, leaf);
  return index;
end
$$;

create or replace function web_session_open(
  cookie_hash bytea, event_id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  leaf constant jsonb := (convert_from(before, 'UTF8') || convert_from(after, 'UTF8'))::jsonb;
  facts constant jsonb := leaf -> 'pub';
  expires constant timestamptz := (facts ->> 'expiresAt')::timestamptz;
  index bigint;
begin
  if leaf ->> 'typ' is distinct from 'web.login'
      or coalesce(expires > now() + interval '7 days', true) then
    raise exception using errcode = 'VT014', message = 'this event begins no web session';
  end if;
  insert into public.web_session (id, user_id, cookie_hash, expires_at)
    values ((facts ->> 'webSession')::uuid, (facts ->> 'user')::uuid, cookie_hash, expires);
  index := public.audit_append(event_id, before, after, salt, payload);
  perform public.audit_require_leaf(event_id, leaf);
  return index;
end
$$;

-- Bounds, far above what we write. "Not valid": they hold for each row that is written from now on, and a row
-- from before stays, whatever somebody made of it. So no table is read here, and none is locked for long.
-- Each statement prepares all constraints of its table, so a table that each login writes has few, and those of
-- the log that only its door writes have none.

alter table audit_checkpoint
  add constraint audit_checkpoint_hashes_bound check (cardinality(hashes) <= 63
    and octet_length(array_to_string(hashes, '')) <= 8192) not valid;
alter table certificate_authority
  add constraint certificate_authority_fingerprint_bound check (octet_length(fingerprint) <= 256) not valid;
alter table security_key_counter
  add constraint security_key_counter_fingerprint_bound check (octet_length(fingerprint) <= 256) not valid;
alter table target_host_key
  add constraint target_host_key_type_bound check (octet_length(type) <= 256) not valid;
alter table user_key
  add constraint user_key_type_bound check (octet_length(type) <= 256) not valid,
  add constraint user_key_fingerprint_bound check (octet_length(fingerprint) <= 256) not valid;
alter table session
  add constraint session_texts_bound check (
    greatest(octet_length(user_name), octet_length(target_name), octet_length(login)) <= 1024
    and octet_length(key_fingerprint) <= 256 and octet_length(certificate_key_id) <= 8192) not valid;

-- A list is one list, of texts.
alter table target
  add constraint target_logins_bound check (array_ndims(logins) = 1 and array_position(logins, null) is null
    and octet_length(array_to_string(logins, '')) <= 8192) not valid;
alter table access_grant
  add constraint access_grant_logins_bound check (coalesce(array_ndims(logins), 1) = 1
    and array_position(logins, null) is null
    and octet_length(array_to_string(logins, '')) <= 8192) not valid,
  add constraint access_grant_forwards_bound check (coalesce(array_ndims(forwards), 1) = 1
    and array_position(forwards, null) is null
    and octet_length(array_to_string(forwards, '')) <= 65536) not valid,
  add constraint access_grant_allow_bound check (cardinality(allow) <= 64) not valid;

-- A time has a year of four digits, after 1: others, and infinity, are no time for who reads them. And a number
-- is one that JavaScript holds. The log's are read in another way (src/audit/queries.ts).
do $$
declare
  one record;
begin
  for one in
    select c.relname as relation, case a.atttypid when 'timestamptz'::regtype then 'times' else 'numbers' end as kind,
      format(case a.atttypid when 'timestamptz'::regtype
        then 'least(%1$s) >= ''0001-01-01 00:00:00+00'' and greatest(%1$s) <= ''9999-12-31 23:59:59.999999+00'''
        else 'least(%1$s) >= -9007199254740991 and greatest(%1$s) <= 9007199254740991' end,
        string_agg(quote_ident(a.attname), ', ' order by a.attname)) as condition
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname <> 'schema_migration'
      and c.relname not like 'audit%' and a.attgenerated = ''
      -- Serials are read as text, and some may have been used up before.
      and (a.atttypid = 'timestamptz'::regtype or (a.atttypid = 'bigint'::regtype and a.attname not like '%serial'))
    group by c.relname, a.atttypid
    order by 1, 2
  loop
    execute format('alter table %I add constraint %I check (%s) not valid',
      one.relation, one.relation || '_' || one.kind || '_bound', one.condition);
  end loop;
end
$$;
