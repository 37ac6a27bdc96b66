-- An append checks what it did before, in fewer calls: each function that another one calls costs some
-- 40 microseconds in a transaction, and a login appends five times while it holds the log's lock.

-- A function in SQL without "strict" becomes a part of the statement that calls it.
-- Only keys as event types have them: RFC 8785 orders keys by UTF-16 units and "C" by bytes, which is the same
-- for these. Another key, or a list with something else than texts, is left out: then this differs from what
-- was given.
create or replace function audit_canonical(object jsonb) returns text
  language sql immutable parallel safe as $$
  select '{' || coalesce((
    select string_agg('"' || key || '":' || case jsonb_typeof(value)
      when 'string' then value::text
      when 'boolean' then value::text
      when 'array' then '[' || coalesce((
        select string_agg(item::text, ',' order by place)
        from jsonb_array_elements(value) with ordinality listed(item, place)
        where jsonb_typeof(item) = 'string'), '') || ']'
      else '' end, ',' order by key collate "C")
    from jsonb_each(object)
    where key collate "C" ~ '^[A-Za-z][A-Za-z0-9]*$'), '') || '}'
$$;

-- HMAC-SHA256 (RFC 2104) with a key of 32 bytes. bit_send() gives the length in bits, in four bytes, and
-- then the bits.
create or replace function audit_hmac(key bytea, message bytea) returns bytea
  language sql immutable parallel safe as $$
  select sha256(
    substring(bit_send(('x' || encode(key, 'hex'))::bit(256) # repeat('01011100', 32)::bit(256)) from 5)
    || decode(repeat('5c', 32), 'hex') || sha256(
    substring(bit_send(('x' || encode(key, 'hex'))::bit(256) # repeat('00110110', 32)::bit(256)) from 5)
    || decode(repeat('36', 32), 'hex') || message))
$$;

-- Asks for the lease itself, as the trigger of each leaf did. Nothing else inserts leaves: only this
-- function's owner may.
drop trigger node_lease on audit_leaf;
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
reset role;
revoke create on schema public from vaultterm_audit;
