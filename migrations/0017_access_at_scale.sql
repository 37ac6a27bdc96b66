-- What decides about one target is found by its target and by whose the grant is, a user's or a role's, which
-- is one column for the sake of one index; however many grants a tenant has. Those that have run out, which
-- nobody removes, are not read. Plain columns, not expressions: under row-level security an index serves
-- only what cannot leak, which coalesce() and lower() are not known for.
alter table access_grant
  add column subject text not null generated always as (coalesce(user_id::text, role)) stored,
  add column ends_at timestamptz not null
    generated always as (coalesce(until, 'infinity'::timestamptz)) stored;
create index access_grant_subject on access_grant (tenant_id, subject, target_id, ends_at);
-- The target first, and as much behind it, so that it serves as well where it is taken for the other.
drop index access_grant_target;
create index access_grant_target on access_grant (target_id, tenant_id, subject, ends_at);

-- `ssh -J` may name a target by the address that it is registered with.
alter table target add column address_host text not null generated always as (lower(host)) stored;
create index target_address on target (tenant_id, address_host, port, name);

-- A target may be changed. Its generation counts the changes after which it may be another machine: of its
-- address, or of a host key that is no longer its. A session keeps the generation that it was opened in.
alter table target add column generation integer not null default 1 check (generation > 0);
grant update (host, port, logins, auth, generation) on target to vaultterm_app;
alter table session add column target_generation integer not null default 1;
grant insert (target_generation) on session to vaultterm_app;
create trigger access_updated after update of host, port, logins, generation on target
  for each row execute function access_changed();
