import type pg from 'pg'
import type { TenantId } from '../../src/postgres/index.ts'

const batch = 50_000

/** What of a client is needed: a superuser's, whom neither grants nor row security bind. */
type Client = Pick<pg.Client, 'query'>

/** Tenants with nothing but their logs, of which every hundredth waits for a checkpoint. */
export async function makeTenants(client: Client, count: number): Promise<void> {
  await client.query(
    `insert into tenant (tenant_id, slug, name)
     select gen_random_uuid(), 'scale-' || i, 'Scale' from generate_series(1, $1::int) i`,
    [count],
  )
}

/** Gives a tenant's empty log so many leaves that verify: made in the database, without its door. */
export async function growLog(
  client: Client,
  tenant: TenantId,
  count: number,
  say: (text: string) => void = () => {},
): Promise<void> {
  await client.query('set session_replication_role = replica')
  for (let from = 0; from < count; from += batch) {
    await client.query(insert, [tenant, from, Math.min(from + batch, count) - 1])
    say(`${Math.min(from + batch, count)} leaves`)
  }
  await client.query('set session_replication_role = origin')
}

const insert = `
  with numbered as materialized (
    select i, (lpad(to_hex(1700000000000 + i), 12, '0') || '7000' || '8000'
        || lpad(to_hex(i), 12, '0'))::uuid as id, sha256(int8send(i)) as salt,
      convert_to('{"login":"root","targetName":"web' || i % 100 || '"}', 'UTF8') as payload
    from generate_series($2::bigint, $3::bigint) i),
  made as materialized (
    select n.*, convert_to('{"$":"bastion.audit.event/v1","id":"' || id || '","log":"' || t.origin
        || '","pc":"' || translate(encode(audit_hmac(salt, convert_to('bastion.audit.priv/v1', 'UTF8')
          || decode('00', 'hex') || uuid_send(id) || payload), 'base64'), '+/=', '-_')
        || '","pub":{"session":"' || gen_random_uuid() || '","target":"' || gen_random_uuid()
        || '"},"ts":"2026-01-01T00:00:00.000Z","typ":"session.open"}', 'UTF8') as leaf
    from numbered n, audit_tree t where t.tenant_id = $1::uuid),
  leaves as (
    insert into audit_leaf (tenant_id, leaf_index, event_id, leaf, leaf_hash)
    select $1::uuid, i, id, leaf, sha256(decode('00', 'hex') || leaf) from made)
  insert into audit_private (tenant_id, event_id, salt, payload)
  select $1::uuid, id, salt, payload from made`
