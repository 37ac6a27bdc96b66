-- How a session came: straight, or by `ssh -J`. Sessions from before this column came straight or not; the
-- log says which, and a default of direct is what they were shown as.
alter table session add column via text not null default 'direct'
  check (via in ('direct', 'jump', 'web'));
grant insert (via) on session to vaultterm_app;

-- A member sees their own sessions, newest first; and what a user opened last is asked when they choose.
-- Ids are in the order of starts, so one index serves both.
create index session_own on session (tenant_id, user_id, id);
drop index session_recent;
