-- Who people are, continued: passkeys, fresh proofs, and what a web session says about itself.

-- How a web session began and was last proved, and where. From before: by a link, and the rest is unknown.
alter table web_session
  -- The role that it began or went on with. When the user's differs, the session gets a new cookie.
  add column role text check (role in ('owner', 'admin', 'member', 'auditor')),
  add column proof text not null default 'link' check (proof in ('link', 'passkey', 'password', 'invitation')),
  add column proved_at timestamptz not null default now(),
  add column device text not null default '' check (octet_length(device) <= 256),
  add column source text not null default '' check (octet_length(source) <= 64),
  add constraint web_session_proved_bound
    check (proved_at >= '0001-01-01 00:00:00+00' and proved_at <= '9999-12-31 23:59:59.999999+00') not valid;

create table passkey (
  tenant_id     uuid not null default app_tenant_id() references tenant,
  id            uuid not null default gen_random_uuid(),
  user_id       uuid not null,
  credential_id bytea not null check (octet_length(credential_id) between 1 and 1023),
  -- COSE.
  public_key    bytea not null check (octet_length(public_key) <= 2048),
  counter       bigint not null check (counter between 0 and 4294967295),
  transports    text[] not null default '{}' check (coalesce(array_ndims(transports), 1) = 1
    and array_position(transports, null) is null and octet_length(array_to_string(transports, '')) <= 256
    and cardinality(transports) <= 8),
  -- Whether its maker may copy it to the person's other devices.
  synced        boolean not null,
  name          text not null check (length(name) between 1 and 64),
  created_at    timestamptz not null default now(),
  used_at       timestamptz,
  -- The vault's, over the user, the credential and its key.
  tag           bytea not null check (octet_length(tag) = 40),
  primary key (tenant_id, id),
  unique (tenant_id, credential_id),
  foreign key (tenant_id, user_id) references app_user (tenant_id, id) on delete cascade,
  constraint passkey_times_bound check (least(created_at, used_at) >= '0001-01-01 00:00:00+00'
    and greatest(created_at, used_at) <= '9999-12-31 23:59:59.999999+00')
);
create index passkey_user on passkey (tenant_id, user_id);
alter table passkey enable row level security, force row level security;
create policy own on passkey using (tenant_id = app_tenant_id());
grant select, delete, update (counter, used_at),
  insert (id, user_id, credential_id, public_key, counter, transports, synced, name, tag)
  on passkey to vaultterm_app;

-- What a browser has to sign, once. Those of sign-ins have neither user nor session, and are the platform's.
create table passkey_challenge (
  tenant_id      uuid not null default app_tenant_id() references tenant,
  hash           bytea not null check (octet_length(hash) = 32),
  purpose        text not null check (purpose ~ '^[a-z. -]{1,64}$'),
  user_id        uuid,
  web_session_id uuid,
  created_at     timestamptz not null default now(),
  expires_at     timestamptz not null,
  primary key (tenant_id, hash),
  foreign key (tenant_id, user_id) references app_user (tenant_id, id) on delete cascade,
  foreign key (tenant_id, web_session_id) references web_session (tenant_id, id) on delete cascade,
  check (expires_at > created_at and expires_at <= created_at + interval '5 minutes'),
  constraint passkey_challenge_times_bound
    check (least(created_at, expires_at) >= '0001-01-01 00:00:00+00'
      and greatest(created_at, expires_at) <= '9999-12-31 23:59:59.999999+00')
);
create index passkey_challenge_expires on passkey_challenge (tenant_id, expires_at);
create index passkey_challenge_session on passkey_challenge (tenant_id, web_session_id);
create index passkey_challenge_user on passkey_challenge (tenant_id, user_id);
alter table passkey_challenge enable row level security, force row level security;
create policy own on passkey_challenge using (tenant_id = app_tenant_id());
grant select, delete, insert (hash, purpose, user_id, web_session_id, expires_at)
  on passkey_challenge to vaultterm_app;

-- That the person of a web session proved freshly, and for one purpose, that it is them. Only the function
-- below makes one, with its event.
create table step_up_proof (
  tenant_id      uuid not null default app_tenant_id() references tenant,
  web_session_id uuid not null,
  purpose        text not null check (purpose ~ '^[a-z.-]{1,64}$'),
  method         text not null check (method in ('passkey', 'password', 'totp')),
  -- The passkey, for example.
  factor_id      uuid not null,
  proved_at      timestamptz not null default now(),
  expires_at     timestamptz not null,
  primary key (tenant_id, web_session_id, purpose),
  foreign key (tenant_id, web_session_id) references web_session (tenant_id, id) on delete cascade,
  check (expires_at > proved_at and expires_at <= proved_at + interval '300 seconds'),
  constraint step_up_proof_times_bound
    check (least(proved_at, expires_at) >= '0001-01-01 00:00:00+00'
      and greatest(proved_at, expires_at) <= '9999-12-31 23:59:59.999999+00')
);
create index step_up_proof_factor on step_up_proof (tenant_id, factor_id);
alter table step_up_proof enable row level security, force row level security;
create policy own on step_up_proof using (tenant_id = app_tenant_id());
grant select, delete on step_up_proof to vaultterm_app;

-- Requests that are done once, and what was answered.
create table request_once (
  tenant_id  uuid not null default app_tenant_id() references tenant,
  user_id    uuid not null,
  key        text not null check (key ~ '^[A-Za-z0-9_-]{16,64}$'),
  digest     bytea not null check (octet_length(digest) = 32),
  -- Null where it held a secret: such an answer is never kept.
  answer     text check (octet_length(answer) <= 65536),
  created_at timestamptz not null default now(),
  primary key (tenant_id, user_id, key),
  foreign key (tenant_id, user_id) references app_user (tenant_id, id) on delete cascade,
  constraint request_once_times_bound
    check (created_at >= '0001-01-01 00:00:00+00' and created_at <= '9999-12-31 23:59:59.999999+00')
);
create index request_once_created on request_once (tenant_id, created_at);
alter table request_once enable row level security, force row level security;
create policy own on request_once using (tenant_id = app_tenant_id());
grant select, delete, insert (user_id, key, digest), update (answer) on request_once to vaultterm_app;

-- As before, and the session says how it began and where.
create or replace function web_session_open(
  cookie_hash bytea, event_id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  leaf constant jsonb := (convert_from(before, 'UTF8') || convert_from(after, 'UTF8'))::jsonb;
  facts constant jsonb := leaf -> 'pub';
  -- audit_append refuses a payload that the leaf does not commit to.
  hidden constant jsonb := convert_from(payload, 'UTF8')::jsonb;
  expires constant timestamptz := (facts ->> 'expiresAt')::timestamptz;
  index bigint;
begin
  if leaf ->> 'typ' is distinct from 'web.login'
      or coalesce(expires > now() + interval '7 days', true) then
    raise exception using errcode = 'VT014', message = 'this event begins no web session';
  end if;
  insert into public.web_session (id, user_id, cookie_hash, expires_at, role, proof, device, source)
    values ((facts ->> 'webSession')::uuid, (facts ->> 'user')::uuid, cookie_hash, expires,
      facts ->> 'role', coalesce(facts ->> 'proof', 'link'),
      coalesce(hidden ->> 'device', ''), coalesce(hidden ->> 'source', ''));
  index := public.audit_append(event_id, before, after, salt, payload);
  perform public.audit_require_leaf(event_id, leaf);
  return index;
end
$$;

-- Gives the web session of a web.renew or web.step-up event a new cookie, and appends the event with the
-- arguments of audit_append. `hashes` are those of the cookie that it has and of the next one: of two at the
-- same time, one gets it. A step-up leaves a proof for its purpose; a renewal, after which the person has other
-- rights, takes all proofs away. Refuses an event that tells of neither (VT014).
create function web_session_renew(
  hashes bytea, event_id uuid, before bytea, after bytea, salt bytea, payload bytea)
  returns bigint language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  leaf constant jsonb := (convert_from(before, 'UTF8') || convert_from(after, 'UTF8'))::jsonb;
  facts constant jsonb := leaf -> 'pub';
  renewed uuid;
  index bigint;
begin
  update public.web_session s
    set cookie_hash = substring(hashes from 33), role = u.role,
      proved_at = case when leaf ->> 'typ' = 'web.step-up' then now() else s.proved_at end
    from public.app_user u
    where s.tenant_id = public.app_tenant_id() and s.cookie_hash = substring(hashes for 32)
      and s.id::text = facts ->> 'webSession' and s.expires_at > now()
      and u.tenant_id = s.tenant_id and u.id = s.user_id and u.id::text = facts ->> 'user'
      and u.role = facts ->> 'role' and leaf ->> 'typ' in ('web.renew', 'web.step-up')
    returning s.id into renewed;
  if renewed is null then
    raise exception using errcode = 'VT014', message = 'this event renews no web session';
  end if;
  if leaf ->> 'typ' = 'web.renew' then
    delete from public.step_up_proof p
      where p.tenant_id = public.app_tenant_id() and p.web_session_id = renewed;
  else
    insert into public.step_up_proof as p (web_session_id, purpose, method, factor_id, expires_at)
      values (renewed, facts ->> 'purpose', facts ->> 'proof', (facts ->> 'factor')::uuid,
        now() + interval '300 seconds')
      on conflict (tenant_id, web_session_id, purpose) do update
        set method = excluded.method, factor_id = excluded.factor_id, proved_at = excluded.proved_at,
          expires_at = excluded.expires_at;
  end if;
  index := public.audit_append(event_id, before, after, salt, payload);
  perform public.audit_require_leaf(event_id, leaf);
  return index;
end
$$;
revoke execute on function web_session_renew from public;
grant execute on function web_session_renew to vaultterm_app;

-- People name, end and remove their own login keys. A login puts its time there, to the minute.
alter table user_key
  add column used_at timestamptz,
  add constraint user_key_used_bound
    check (used_at >= '0001-01-01 00:00:00+00' and used_at <= '9999-12-31 23:59:59.999999+00') not valid;
-- A key with another name or end is a new row in its place: no login that serves makes a row last longer.
grant insert (id, created_at, used_at), update (used_at) on user_key to vaultterm_app;
