-- Background work. The queue's tables and functions are pg-boss', whose text is taken from the pinned package:
-- `--! source` is replaced by it, and a package with another text is refused. Roles, rights and policies are ours.
-- See docs/decisions/0033 and src/jobs.

-- Takes jobs and gives them back, for all tenants. The work itself is done in the application's role.
do $$
begin
  if not exists (select from pg_roles where rolname = 'vaultterm_jobs') then
    begin
      create role vaultterm_jobs nologin nobypassrls nocreatedb nocreaterole;
    exception
      when duplicate_object or unique_violation then
        null; -- Another database's migration was faster.
      when insufficient_privilege then
        raise exception 'the role vaultterm_jobs is missing, and % may not make it', current_user
          using hint = 'as a superuser: create role vaultterm_jobs nologin; grant it to the login of '
            'VAULTTERM_JOBS_DATABASE_URL';
    end;
  end if;
  -- As in 0001: for an installation where one login owns, migrates and serves.
  begin
    execute format('grant vaultterm_jobs to current_user %s',
      case when current_setting('server_version_num')::int >= 160000
        then 'with inherit false, set true' end);
  exception when insufficient_privilege then
    null; -- The operator made the role, and grants it.
  end;
  if not exists (select from pg_namespace where nspname = 'pgboss') then
    begin
      create schema pgboss;
    exception when insufficient_privilege then
      raise exception '% may not make the schema pgboss', current_user
        using hint = format('as a superuser: create schema pgboss authorization %I', current_user);
    end;
  end if;
end
$$;

--! source pg-boss@12.38.0 sha256:dca241ffd41653f72605e82bf36c2298d78e81af07845c9a002324105b195842

revoke execute on all functions in schema pgboss from public;
grant usage on schema pgboss to vaultterm_jobs, vaultterm_app, vaultterm_system;

-- No more than it uses with the settings of src/jobs/boss.ts.
grant select, insert, update, delete on pgboss.job, pgboss.job_common to vaultterm_jobs;
grant select, insert, update on pgboss.queue, pgboss.schedule to vaultterm_jobs;
grant select, update (cron_on, bam_on, flow_on, reindex_on, monitor_backoff_on) on pgboss.version to vaultterm_jobs;
grant select, delete on pgboss.job_dependency, pgboss.instance to vaultterm_jobs;
grant update (stopped_on) on pgboss.instance to vaultterm_jobs; -- to lock a row that it deletes
grant select on pgboss.bam to vaultterm_jobs;
grant execute on function pgboss.job_now, pgboss.create_queue to vaultterm_jobs;

-- The application adds a job in the transaction of the act, and ends it in the transaction of its effects. It
-- deletes none.
grant select on pgboss.queue to vaultterm_app;
grant execute on function pgboss.job_now to vaultterm_app;
grant select, update (state, completed_on, start_after, output, blocked, pending_dependencies, retry_limit)
  on pgboss.job, pgboss.job_common to vaultterm_app;
grant insert (id, name, data, priority, start_after, created_on, singleton_key, singleton_on, group_id, group_tier,
  expire_seconds, deletion_seconds, keep_until, retry_limit, retry_delay, retry_backoff, retry_delay_max, policy,
  dead_letter, heartbeat_seconds, blocked, blocking, pending_dependencies, trace_context)
  on pgboss.job_common to vaultterm_app;
-- Operators' commands look for a job by its id, whose tenant they do not know yet.
grant select (id, name, data, state, retry_limit, retry_count, group_id, start_after, created_on, started_on,
  completed_on, output) on pgboss.job to vaultterm_system;

-- The library names the partition in most statements, where the policies of the table above it do not bind. A
-- tenant writes only jobs of its own, with bounds: a constraint would be a difference from what the library makes.
-- A key is unique over all tenants, so each begins with its tenant: another one's would keep this one's job out.
do $$
declare
  of text;
begin
  foreach of in array array['job', 'job_common'] loop
    execute format('alter table pgboss.%I enable row level security, force row level security', of);
    execute format('create policy every on pgboss.%I to vaultterm_jobs using (true)', of);
    execute format($policy$create policy own on pgboss.%I to vaultterm_app
      using (group_id = public.app_tenant_id()::text)
      with check (group_id = public.app_tenant_id()::text
        and (singleton_key is null or starts_with(singleton_key, public.app_tenant_id()::text || ':'))
        and coalesce(octet_length(singleton_key), 0) <= 1024
        and octet_length(data::text) <= 4096
        and (output is null or octet_length(output::text) <= 4096)
        and retry_limit between 0 and 1000
        and created_on between '2000-01-01' and '2200-01-01'
        and start_after between '2000-01-01' and '2200-01-01'
        and keep_until between '2000-01-01' and '2200-01-01'
        and (completed_on is null or completed_on between '2000-01-01' and '2200-01-01'))$policy$, of);
  end loop;
end
$$;
create policy look on pgboss.job for select to vaultterm_system using (true);

-- How many wait for a tenant and kind is asked at each add.
create index job_common_waiting on pgboss.job_common (group_id, (data ->> 'kind'))
  where state < 'active';
-- A tenant's newest jobs.
create index job_common_tenant on pgboss.job_common (group_id, created_on);

-- Each node brings their settings up to date at its start (src/jobs/lanes.ts). They are here, so that an act can
-- add a job before any node has worked on one.
select pgboss.create_queue('quick', '{"policy": "stately"}'), pgboss.create_queue('slow', '{"policy": "stately"}');

-- How far a job is. The library has no field for it.
create table job_progress (
  tenant_id uuid not null default app_tenant_id() references tenant,
  job_id    uuid not null,
  done      bigint not null check (done between 0 and 9007199254740991),
  total     bigint check (total between 0 and 9007199254740991),
  note      text check (length(note) <= 200 and octet_length(note) <= 800),
  at        timestamptz not null default now(),
  primary key (tenant_id, job_id),
  constraint job_progress_times_bound check (at between '2000-01-01' and '2200-01-01')
);
create index job_progress_at on job_progress (tenant_id, at);
alter table job_progress enable row level security, force row level security;
create policy own on job_progress using (tenant_id = app_tenant_id());
grant select, delete, insert (job_id, done, total, note), update (done, total, note, at)
  on job_progress to vaultterm_app;

-- When scheduled work is due next. Only the platform has rows.
create table job_schedule (
  tenant_id uuid not null default app_tenant_id() references tenant,
  name      text not null check (name ~ '^[a-z][a-z.-]{0,63}$'),
  due_at    timestamptz not null,
  primary key (tenant_id, name),
  constraint job_schedule_times_bound check (due_at between '2000-01-01' and '2200-01-01')
);
alter table job_schedule enable row level security, force row level security;
create policy own on job_schedule using (tenant_id = app_tenant_id());
grant select, insert (name, due_at), update (due_at) on job_schedule to vaultterm_app;
