-- What a login that serves could take away for good with one row or one notification.

-- VaultTerm writes only few versions of a key, counted from 1. Nobody adds one that hides them all, and a
-- reader tries at most these. Rows from before stay where they are: they are read last.
alter table vault_secret
  add constraint vault_secret_version_few check (version <= 32) not valid;
alter table vault_kek
  add constraint vault_kek_version_few check (version <= 32) not valid;

-- Serials are taken in blocks of at most 64, so one update neither uses them up nor gives them twice.
create function certificate_authority_count() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.last_serial < old.last_serial or new.last_serial - old.last_serial > 64 then
    raise exception using errcode = 'VT019', message = 'serials are taken in small blocks';
  end if;
  return new;
end
$$;
revoke execute on function certificate_authority_count from public;
create trigger count_serials before update of last_serial on certificate_authority
  for each row execute function certificate_authority_count();

-- A notification only says where to look. All databases of a server share one queue, which any login can
-- fill, and a transaction that must notify then fails. So an act sends none where the queue fills up: the
-- processes look by themselves then (src/access/kill.ts).
create function notify_if_room(channel text, payload text) returns void
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if pg_notification_queue_usage() < 0.5 then
    perform pg_notify(channel, payload);
  end if;
end
$$;
revoke execute on function notify_if_room from public;
grant execute on function notify_if_room to vaultterm_app;

create or replace function access_changed() returns trigger language plpgsql as $$
begin
  perform public.notify_if_room('vaultterm_access_change', old.tenant_id::text);
  return null;
end
$$;
create or replace function certificate_revoked() returns trigger language plpgsql as $$
begin
  perform public.notify_if_room('vaultterm_access_change', new.tenant_id::text);
  return null;
end
$$;
