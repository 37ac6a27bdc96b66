--! breaking
-- What a bare statement of the application's login could make of an end: open an ended session again, or
-- have its sealed recording "found" and mended; and keep the sessions of a dead process open for ever.

-- A session ends once. After that its row stays as it is, but for a recording that was not found at the end:
-- it is filled in once. Before it, only what happens to a live session is written.
create function session_keep_end() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  -- What the row may become.
  allowed public.session := old;
begin
  if old.ended_at is null and new.ended_at is not null then
    if new.recording_sought and new.recording_sha256 is not null then
      raise exception using errcode = 'VT022', message = 'a recording with a digest is not sought';
    end if;
    return new;
  end if;
  if old.ended_at is null then
    allowed.opened_at := coalesce(old.opened_at, new.opened_at);
    if old.killed_at is null then
      allowed.killed_at := new.killed_at;
      allowed.kill_reason := new.kill_reason;
      allowed.killed_by := new.killed_by;
    end if;
  elsif old.recording_sought and not new.recording_sought then
    allowed.recording_sought := false;
    allowed.recording := new.recording;
    allowed.recording_sha256 := new.recording_sha256;
    allowed.recording_bytes := new.recording_bytes;
    allowed.recording_events := new.recording_events;
    allowed.recording_complete := new.recording_complete;
    allowed.recording_intact := new.recording_intact;
  end if;
  if new is distinct from allowed then
    raise exception using errcode = 'VT022', message = 'a session ends once, and with all of its end';
  end if;
  return new;
end
$$;
revoke execute on function session_keep_end from public;
create trigger keep_end before update on session
  for each row execute function session_keep_end();

-- Whose sessions nobody ends is not a matter of a column that somebody sets: an instance is settled when it
-- ended a while ago and has no open session; it ends once and is settled once, at this database's times; and no
-- lease is longer than it says, so that also a claim by an instance that is not there runs out, nor shorter
-- than it was: a row whose lease ran out long ago is of a process that has not renewed it since.
create function node_keep_end() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if tg_op = 'UPDATE' then
    new.lease_until := greatest(new.lease_until, old.lease_until);
  end if;
  new.lease_until := least(new.lease_until, clock_timestamp() + new.lease_ms * interval '1 ms');
  if tg_op = 'INSERT' then
    return new;
  end if;
  if old.ended_at is not null and (new.ended_at, new.ended) is distinct from (old.ended_at, old.ended) then
    raise exception using errcode = 'VT022', message = 'an instance ends once';
  end if;
  if old.ended_at is null and new.ended_at is not null then
    new.ended_at := clock_timestamp();
  end if;
  if new.settled_at is not distinct from old.settled_at then
    return new;
  end if;
  -- A transaction that began before the end may commit a session this much later; and this one must see it.
  if old.settled_at is not null or old.ended_at is null
      or current_setting('transaction_isolation') <> 'read committed'
      or old.ended_at > clock_timestamp() - interval '2 minutes'
      or exists (select from public.session s where s.instance = old.id and s.ended_at is null) then
    raise exception using errcode = 'VT022', message = 'this instance is not settled';
  end if;
  new.settled_at := clock_timestamp();
  return new;
end
$$;
revoke execute on function node_keep_end from public;

-- Those that were settled by hand are looked at once more, with the others.
update node_instance set settled_at = null where settled_at is not null;
create trigger keep_end before insert or update on node_instance
  for each row execute function node_keep_end();

-- A web session begins through one function, which appends its event: a login that serves makes none without
-- a trace, nor one that lasts longer than ours do.

-- Makes the web session of a web.login event, and appends that with the arguments of audit_append. Answers at
-- which index. Refuses an event that tells of none (VT014).
create function web_session_open(
  cookie_hash bytea, event_id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  leaf constant jsonb := (convert_from(before, 'UTF8') || convert_from(after, 'UTF8'))::jsonb;
  facts constant jsonb := leaf -> 'pub';
  expires constant timestamptz := (facts ->> 'expiresAt')::timestamptz;
begin
  if leaf ->> 'typ' is distinct from 'web.login'
      or coalesce(expires > now() + interval '7 days', true) then
    raise exception using errcode = 'VT014', message = 'this event begins no web session';
  end if;
  insert into public.web_session (id, user_id, cookie_hash, expires_at)
    values ((facts ->> 'webSession')::uuid, (facts ->> 'user')::uuid, cookie_hash, expires);
  return public.audit_append(event_id, before, after, salt, payload);
end
$$;
revoke execute on function web_session_open from public;
grant execute on function web_session_open to vaultterm_app;
revoke insert (user_id, cookie_hash, expires_at) on web_session from vaultterm_app;
