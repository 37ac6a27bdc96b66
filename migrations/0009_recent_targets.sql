-- What somebody used last stands first when they choose.
create index session_recent on session (tenant_id, user_id, started_at desc);
