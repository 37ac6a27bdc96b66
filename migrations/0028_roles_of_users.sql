-- A user's role changes only with its event.

-- Gives the user of a user.role event the role that it tells of, and appends the event with the arguments of
-- audit_append. Refuses an event that tells of something else, also of another role before (VT014).
create function user_role_change(
  subject uuid, event_id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  leaf constant jsonb := (convert_from(before, 'UTF8') || convert_from(after, 'UTF8'))::jsonb;
  facts constant jsonb := leaf -> 'pub';
  index bigint;
begin
  update public.app_user u set role = facts ->> 'role'
    where u.tenant_id = public.app_tenant_id() and u.id = subject and u.id::text = facts ->> 'user'
      and u.role = facts ->> 'roleBefore' and u.role is distinct from facts ->> 'role'
      and leaf ->> 'typ' = 'user.role';
  if not found then
    raise exception using errcode = 'VT014', message = 'this event changes the role of nobody';
  end if;
  index := public.audit_append(event_id, before, after, salt, payload);
  perform public.audit_require_leaf(event_id, leaf);
  return index;
end
$$;
revoke execute on function user_role_change from public;
grant execute on function user_role_change to vaultterm_app;

-- When somebody first had a way in as this user: a web session, a login key or a certificate. Until then a member
-- may make a link for them. What was there and is gone again still says that they came. Of users from before it is
-- known only of those who have an open invitation.
alter table app_user
  add column arrived_at timestamptz,
  add constraint app_user_arrived_bound
    check (arrived_at >= '0001-01-01 00:00:00+00' and arrived_at <= '9999-12-31 23:59:59.999999+00') not valid;
update app_user u set arrived_at = now()
  where not exists (select from login_link l where l.tenant_id = u.tenant_id and l.user_id = u.id
    and l.expires_at - l.created_at > interval '1 hour');
grant update (arrived_at) on app_user to vaultterm_app;
