-- Where forwards may lead, for grants that allow them: none means anywhere.
alter table access_grant add column forwards text[] not null default '{}'
  check (cardinality(forwards) <= 64);
grant insert (forwards) on access_grant to vaultterm_app;
