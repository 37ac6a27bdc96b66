-- What decides about one target is found by its user or role and its target, however many grants a tenant
-- has. The last column keeps those that have run out from being read: nobody removes them.
create index access_grant_by_user on access_grant
  (tenant_id, user_id, target_id, coalesce(until, 'infinity'::timestamptz))
  where user_id is not null;
create index access_grant_by_role on access_grant
  (tenant_id, role, target_id, coalesce(until, 'infinity'::timestamptz))
  where role is not null;
drop index access_grant_user;

-- `ssh -J` may name a target by the address that it is registered with.
create index target_address on target (tenant_id, lower(host), port, name);

-- A target may be changed. Its generation counts the changes after which it may be another machine: of its
-- address, or of a host key that is no longer its. A session keeps the generation that it was opened in.
alter table target add column generation integer not null default 1 check (generation > 0);
grant update (host, port, logins, auth, generation) on target to vaultterm_app;
alter table session add column target_generation integer not null default 1;
grant insert (target_generation) on session to vaultterm_app;
create trigger access_updated after update of host, port, logins, generation on target
  for each row execute function access_changed();
