-- What a bare statement of the application's login could make of an end: open an ended session again, or
-- have its sealed recording "found" and mended.

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
