import type pg from 'pg'
import { parseTenantId, type TenantId } from '../../src/postgres/index.ts'

/** How the grants of a large tenant lie: each way reads badly where an index has the wrong columns. */
export const distributions = ['user', 'role', 'every', 'expired', 'none'] as const
export type Distribution = (typeof distributions)[number]

export interface LargeTenant {
  readonly distribution: Distribution
  readonly id: TenantId
  readonly slug: string
  readonly user: { readonly id: string; readonly fingerprint: string }
}

export const targetName = (at: number) => `host-${String(at).padStart(5, '0')}`

const rows = {
  /** Each of the user's grants names one target. */
  user: "select $1::uuid, u.id, null, t.id, array['shell', 'jump'], null::timestamptz from t, u",
  /** The same, for the role that the user has. */
  role: "select $1::uuid, null, 'member', t.id, array['shell', 'jump'], null::timestamptz from t",
  /** One grant is for every target; the others are another user's. */
  every: `select $1::uuid, case when n = 1 then u.id else (select id from other) end, null,
            case when n = 1 then null else t.id end, array['shell', 'jump'], null::timestamptz
          from t, u`,
  /** All are for one target, and all but one have run out. */
  expired: `select $1::uuid, u.id, null, (select id from t where n = 1), array['shell', 'jump'],
              case when n > 1 then now() - interval '1 day' end from t, u`,
  /** Another user's. */
  none: "select $1::uuid, (select id from other), null, t.id, array['shell'], null::timestamptz from t",
} as const satisfies { readonly [distribution in Distribution]: string }

/** Makes a tenant with so many targets and grants, as a superuser, in a few statements. */
export async function makeLargeTenant(
  client: pg.Client,
  distribution: Distribution,
  count: number,
): Promise<LargeTenant> {
  const slug = `large-${distribution}`
  const { rows: made } = await client.query<{ tenant: string; user: string }>(
    `with tenant as (
       insert into tenant (tenant_id, slug, name) values (gen_random_uuid(), $1, $1)
         returning tenant_id),
     users as (
       insert into app_user (tenant_id, name, role)
         select tenant_id, n, 'member' from tenant, unnest(array['demo', 'other']) n
         returning tenant_id, id, name)
     select tenant_id as tenant, id as user from users where name = 'demo'`,
    [slug],
  )
  const [{ tenant, user } = { tenant: '', user: '' }] = made
  const fingerprint = `SHA256:${distribution.padEnd(43, 'A')}`
  await client.query(
    `insert into user_key (tenant_id, user_id, type, blob, fingerprint)
       values ($1, $2, 'ssh-ed25519', $3, $4)`,
    [tenant, user, Buffer.from(slug), fingerprint],
  )
  await client.query(
    `insert into target (tenant_id, name, host, port, logins)
       select $1, 'host-' || lpad(n::text, 5, '0'), 'h' || n || '.example', 22, '{root}'
         from generate_series(1, $2::integer) n`,
    [tenant, count],
  )
  await client.query(
    `insert into target_host_key (tenant_id, target_id, type, blob)
       select tenant_id, id, 'ssh-ed25519', decode('00', 'hex') from target where tenant_id = $1`,
    [tenant],
  )
  await client.query(
    `with t as (
         select id, row_number() over (order by name) as n from target where tenant_id = $1),
       u as (select id from app_user where tenant_id = $1 and name = 'demo'),
       other as (select id from app_user where tenant_id = $1 and name = 'other')
     insert into access_grant (tenant_id, user_id, role, target_id, allow, until)
       ${rows[distribution]}`,
    [tenant],
  )
  await client.query(
    `insert into session (tenant_id, id, user_id, user_name, key_fingerprint, target_id, target_name,
         login, kind, source, client_ident, node, recording, ended_at)
       select $1, gen_random_uuid(), $2, 'demo', $3, t.id, t.name, 'root', 'shell', '', '', 'n', false,
           now()
         from target t where t.tenant_id = $1`,
    [tenant, user, fingerprint],
  )
  const id = parseTenantId(tenant)
  if (id === undefined) throw new Error('the tenant has an id')
  return { distribution, id, slug, user: { id: user, fingerprint } }
}

/** Makes many small tenants, each with a few targets and a grant. */
export async function makeSmallTenants(
  client: pg.Client,
  { tenants, targets }: { readonly tenants: number; readonly targets: number },
): Promise<void> {
  await client.query(
    `with made as (
       insert into tenant (tenant_id, slug, name)
         select gen_random_uuid(), 'small-' || n, 'small' from generate_series(1, $1::integer) n
         returning tenant_id),
     people as (
       insert into app_user (tenant_id, name, role) select tenant_id, 'demo', 'member' from made
         returning tenant_id, id),
     keys as (
       insert into user_key (tenant_id, user_id, type, blob, fingerprint)
         select tenant_id, id, 'ssh-ed25519', id::text::bytea, 'SHA256:' || id from people),
     hosts as (
       insert into target (tenant_id, name, host, port, logins)
         select tenant_id, 'host-' || lpad(n::text, 5, '0'), 'h' || n || '.example', 22, '{root}'
           from made, generate_series(1, $2::integer) n)
     insert into access_grant (tenant_id, user_id, allow)
       select tenant_id, id, '{shell}' from people`,
    [tenants, targets],
  )
}
