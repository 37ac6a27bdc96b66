--! breaking
-- A log is written through functions of one role, and in no other way: a login that serves cannot change
-- a row of it, and cannot append a leaf that does not verify. See docs/decisions/0014.

-- Owns these functions and nothing else. No login is a member but the one that migrates.
do $$
begin
  if not exists (select from pg_roles where rolname = 'vaultterm_audit') then
    begin
      create role vaultterm_audit nologin nobypassrls nocreatedb nocreaterole;
    exception
      when duplicate_object or unique_violation then
        null; -- Another database's migration was faster.
      when insufficient_privilege then
        raise exception 'the role vaultterm_audit is missing, and % may not make it', current_user
          using hint = format('as a superuser: create role vaultterm_audit nologin; '
            'grant vaultterm_audit to %I', current_user);
    end;
  end if;
  begin
    execute format('grant vaultterm_audit to current_user %s',
      case when current_setting('server_version_num')::int >= 160000
        then 'with inherit false, set true' end);
  exception when insufficient_privilege then
    null; -- The operator made the role, and grants it.
  end;
  if not pg_has_role(current_user, 'vaultterm_audit', 'member') then
    raise exception 'the role vaultterm_audit is not granted to %', current_user
      using hint = format('as a superuser: grant vaultterm_audit to %I', current_user);
  end if;
end
$$;

alter table audit_tree
  -- Where the log begins among the leaves: behind those of an epoch that was given up.
  add column first_leaf  bigint not null default 0 check (first_leaf >= 0),
  -- How many leaves the last checkpoint covers.
  add column signed_size bigint not null default 0 check (signed_size >= 0),
  add column thinned_at  timestamptz not null default now();

-- The logs with leaves that no checkpoint covers: what the publisher reads, and all that it reads.
create table audit_unsigned (
  tenant_id uuid primary key default app_tenant_id() references audit_tree,
  since     timestamptz not null default now()
);
create index audit_unsigned_since on audit_unsigned (since);
alter table audit_unsigned enable row level security;

-- The owner sees the rows of all tenants here, once.
alter table audit_tree no force row level security;
alter table audit_checkpoint no force row level security;
alter table audit_tree disable trigger grows_by_one;
update audit_tree t set signed_size = last.size
  from (select tenant_id, max(size) as size from audit_checkpoint group by tenant_id) last
  where last.tenant_id = t.tenant_id;
insert into audit_unsigned (tenant_id) select tenant_id from audit_tree where size > signed_size;
alter table audit_tree enable trigger grows_by_one;
alter table audit_tree force row level security;
alter table audit_checkpoint force row level security;
alter table audit_unsigned force row level security;

create policy own on audit_unsigned using (tenant_id = app_tenant_id());
create policy heads on audit_unsigned for select to vaultterm_system using (true);
drop policy heads on audit_tree;
drop policy heads on audit_checkpoint;

-- HMAC-SHA256 (RFC 2104) with a key of 32 bytes: what a leaf commits to its private payload with.
create function audit_hmac(key bytea, message bytea) returns bytea
  language plpgsql immutable strict parallel safe as $$
declare
  bits bit(256) := ('x' || encode(key, 'hex'))::bit(256);
  i bit(256) := bits # repeat('00110110', 32)::bit(256);
  o bit(256) := bits # repeat('01011100', 32)::bit(256);
begin
  return sha256(
    int8send(substring(o from 1 for 64)::bigint) || int8send(substring(o from 65 for 64)::bigint)
    || int8send(substring(o from 129 for 64)::bigint) || int8send(substring(o from 193 for 64)::bigint)
    || decode(repeat('5c', 32), 'hex') || sha256(
      int8send(substring(i from 1 for 64)::bigint) || int8send(substring(i from 65 for 64)::bigint)
      || int8send(substring(i from 129 for 64)::bigint) || int8send(substring(i from 193 for 64)::bigint)
      || decode(repeat('36', 32), 'hex') || message));
end
$$;

-- An object in the one form of RFC 8785 that our events have: texts, flags, and lists of texts. Another
-- value has no form here, and what is built of it differs from what was given.
create function audit_canonical(object jsonb) returns text
  language plpgsql immutable strict parallel safe as $$
begin
  return (
    select '{' || coalesce(string_agg('"' || key || '":' || case jsonb_typeof(value)
      when 'string' then value::text
      when 'boolean' then value::text
      when 'array' then case
        when not jsonb_path_exists(value, '$[*] ? (@.type() != "string")')
          -- Within a text each quote has a backslash before it.
          then replace(value::text, '", "', '","')
        else '' end
      else '' end, ',' order by key collate "C"), '') || '}'
    from jsonb_each(object));
end
$$;

-- Appends a leaf, of which the name of the log is left out between before and after, with its private
-- payload, where salt is one. Answers at which index. Waits for the log's lock, and holds it until the
-- transaction ends. Takes the leaves that src/audit/event.ts encodes, and no others (VT014); appends
-- nothing to a log that is damaged (VT013).
create or replace function audit_append(id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  head public.audit_tree;
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
  whole := convert_from(before, 'UTF8') || head.origin || convert_from(after, 'UTF8');
  parts := whole::jsonb;
  if whole is distinct from '{"$":"bastion.audit.event/v1","id":"' || id || '","log":"' || head.origin || '"'
      || coalesce(',"pc":"' || (parts ->> 'pc') || '"', '')
      || ',"pub":' || public.audit_canonical(parts -> 'pub')
      || ',"ts":"' || to_char((parts ->> 'ts')::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
      || '","typ":"' || (parts ->> 'typ') || '"}' then
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

-- Takes the log's lock, and nothing else.
create function audit_lock() returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform from public.audit_tree for update;
  if not found then
    raise exception using errcode = 'VT013', message = 'there is no log';
  end if;
end
$$;

-- Keeps a signed checkpoint. False when another node's is as large: the log is one, and so is its note.
-- A signature is not verified here: who reads a checkpoint does.
create function audit_publish(new_size bigint, new_hashes bytea[], new_note text) returns boolean
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  head public.audit_tree;
  root bytea;
  kept integer := cardinality(new_hashes);
begin
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
  if not starts_with(new_note, head.origin || E'\n' || new_size || E'\n'
      || encode(root, 'base64') || E'\n\n' || E'\u2014' || ' ' || head.origin || ' ') then
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

-- Which of its checkpoints a log still needs: all of the last hour, one a minute of the last day, one an
-- hour of the last 30 days, one a day before: see docs/decisions/0015. The last of each stays.
create function audit_thin() returns void language plpgsql as $$
begin
  delete from public.audit_checkpoint where size in (
    select size from (
      select size, created_at, row_number() over (
        partition by case
          when age < interval '1 day' then 'minute' when age < interval '30 days' then 'hour' else 'day' end,
        date_trunc(case
          when age < interval '1 day' then 'minute' when age < interval '30 days' then 'hour' else 'day' end,
          created_at at time zone 'UTC')
        order by size desc) as place
      from (select size, created_at, now() - created_at as age from public.audit_checkpoint) aged
      where age >= interval '1 hour') placed
    where place > 1);
end
$$;

-- The tenant of the transaction may be another one, or none where an operator makes tenants.
create or replace function audit_open_log() returns trigger
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  before text := coalesce(current_setting('app.tenant_id', true), '');
begin
  perform set_config('app.tenant_id', new.tenant_id::text, true);
  insert into public.audit_tree (tenant_id) values (new.tenant_id);
  perform set_config('app.tenant_id', before, true);
  return null;
end
$$;

-- The owner is not bound by grants, and the triggers bind it. Only these functions act as the role.
create or replace function audit_refuse_change() returns trigger language plpgsql as $$
begin
  if tg_table_name = 'audit_checkpoint' and tg_op = 'DELETE' and current_user = 'vaultterm_audit' then
    return null; -- Thinning.
  end if;
  raise exception 'the audit log is append-only: % on % refused', tg_op, tg_table_name;
end
$$;
create or replace function audit_refuse_shrinking() returns trigger language plpgsql as $$
begin
  if (new.tenant_id, new.origin, new.first_leaf) is distinct from (old.tenant_id, old.origin, old.first_leaf)
      or new.signed_size < old.signed_size
      or (new.size <> old.size + 1 and (new.size, new.hashes) is distinct from (old.size, old.hashes)) then
    raise exception 'the audit log grows by one leaf at a time';
  end if;
  return new;
end
$$;

revoke all on audit_tree, audit_leaf, audit_private, audit_checkpoint
  from vaultterm_app, vaultterm_bastion, vaultterm_system;
grant select on audit_tree, audit_leaf, audit_private, audit_checkpoint to vaultterm_app;
grant select on audit_unsigned to vaultterm_system;
grant usage on schema public to vaultterm_audit;
grant select, insert (tenant_id), update (size, hashes, signed_size, thinned_at) on audit_tree
  to vaultterm_audit;
grant insert (leaf_index, event_id, leaf, leaf_hash) on audit_leaf to vaultterm_audit;
grant insert (event_id, salt, payload) on audit_private to vaultterm_audit;
grant select, insert (size, hashes, note), delete on audit_checkpoint to vaultterm_audit;
grant insert (tenant_id), update (since), delete on audit_unsigned to vaultterm_audit;

revoke execute on function audit_grow, audit_append, audit_lock, audit_publish, audit_thin, audit_hmac,
  audit_canonical, audit_open_log from public, vaultterm_app, vaultterm_bastion;
grant execute on function audit_append, audit_lock, audit_publish to vaultterm_app;
grant execute on function audit_grow, audit_thin, audit_hmac, audit_canonical to vaultterm_audit;

-- A function is given to a role that may create in its schema: for as long as that takes.
grant create on schema public to vaultterm_audit;
alter function audit_append owner to vaultterm_audit;
alter function audit_lock owner to vaultterm_audit;
alter function audit_publish owner to vaultterm_audit;
alter function audit_open_log owner to vaultterm_audit;
revoke create on schema public from vaultterm_audit;

-- Each role keeps what it uses: test/postgres/privileges.test.ts has the whole table. A trigger's function
-- needs no grant to run. The bastion's own role asks nothing: its directory finds tenants for it.
revoke execute on function app_tenant_id, access_changed, certificate_revoked, audit_refuse_change,
  audit_refuse_shrinking from public;
grant execute on function app_tenant_id
  to vaultterm_app, vaultterm_system, vaultterm_directory, vaultterm_audit;
revoke select on tenant from vaultterm_bastion;
revoke select on schema_migration from vaultterm_directory;
revoke update (name) on tenant from vaultterm_app;
revoke insert (sealed, changed_at) on vault_state from vaultterm_app;
revoke insert (created_at, last_rotated) on vault_secret from vaultterm_app;
revoke insert (seen_at) on security_key_counter from vaultterm_app;
