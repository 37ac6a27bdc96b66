-- What a login that serves could take away for good with one row or one notification.

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
