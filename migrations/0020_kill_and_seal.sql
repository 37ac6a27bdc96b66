--! breaking
-- Two acts that the application's login could do by a bare statement, and that left no trace.

-- A session is killed through one function, which marks it and appends the event: a login that serves can
-- end no session without a trace, and says nothing to its user that is not on the log.

-- Marks a live session by its session.kill event, and appends that with the arguments of audit_append.
-- Answers at which index. Refuses an event that is not of this session, and one of a session that ended or
-- is marked (VT014).
create function session_kill(
  session_id uuid, event_id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  leaf constant jsonb := (convert_from(before, 'UTF8') || convert_from(after, 'UTF8'))::jsonb;
  facts constant jsonb := leaf -> 'pub';
  -- audit_append refuses a payload that the leaf does not commit to.
  words constant text := convert_from(payload, 'UTF8')::jsonb ->> 'reason';
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
  return public.audit_append(event_id, before, after, salt, payload);
end
$$;
revoke execute on function session_kill from public;
grant execute on function session_kill to vaultterm_app;
revoke update (killed_at, kill_reason, killed_by) on session from vaultterm_app;

-- A vault that was sealed is opened by who holds the operator's key: each seal has a new id, which nobody
-- chooses, and it is open again with a proof that this key made for that id. A row that says only that the
-- vault is open is not believed (src/vault/seal-state.ts).
alter table vault_state add column seal_id uuid,
  add column open_proof bytea check (octet_length(open_proof) <= 4096);

create function vault_name_seal() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  new.seal_id := case when new.sealed and not old.sealed then gen_random_uuid() else old.seal_id end;
  return new;
end
$$;
revoke execute on function vault_name_seal from public;

-- The owner is bound by row security: this is the platform's row.
select set_config('app.tenant_id', '00000000-0000-0000-0000-000000000000', true);
update vault_state set seal_id = gen_random_uuid() where sealed;
select set_config('app.tenant_id', '', true);
create trigger name_seal before update on vault_state
  for each row execute function vault_name_seal();
grant update (open_proof) on vault_state to vaultterm_app;

-- Postgres lets everybody make large objects, and neither row security nor a grant of ours binds them. Only a
-- superuser may change that: where another login migrates, the operator does it (docs/operations/commands.md).
do $$
begin
  if (select rolsuper from pg_roles where rolname = current_user) then
    revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public;
  end if;
end
$$;
