-- What the main process remembers of recordings that a worker writes, for the case that it dies too: the
-- points up to which it was told a digest, and the chain over them. The chain is on the log with the
-- session's end, and binds the points.
create table recording_witness (
  tenant_id  uuid not null default app_tenant_id() references tenant,
  session_id uuid not null,
  -- When the last point was told.
  at         timestamptz not null default now(),
  bytes      bigint not null check (bytes > 0),
  offsets    bytea not null check (octet_length(offsets) between 1 and 262144),
  chain      bytea not null check (octet_length(chain) = 32),
  primary key (tenant_id, session_id),
  foreign key (tenant_id, session_id) references session (tenant_id, id)
);
alter table recording_witness enable row level security, force row level security;
create policy own on recording_witness using (tenant_id = app_tenant_id());
-- Also of a process that stood still: the log has what was told before its lease was taken.
create trigger node_lease before insert or update on recording_witness
  for each row execute function node_require_lease();
grant select, insert (session_id, at, bytes, offsets, chain), update (at, bytes, offsets, chain)
  on recording_witness to vaultterm_app;

-- False: the recording is not what was witnessed while it grew. Null: nothing was witnessed.
alter table session add column recording_intact boolean;
grant update (recording_intact) on session to vaultterm_app;
