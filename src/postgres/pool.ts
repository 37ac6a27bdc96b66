import pg from 'pg'
import type { Secret } from '../secret.ts'
import { BoundedClient, type BoundedConfig, messageBytesMax } from './client.ts'
import { DatabaseRoleWrong, transportReason } from './errors.ts'
import { type InstanceId, parseInstanceId } from './instance-id.ts'
import {
  takeBackSettings,
  triggersOffState,
  triggersOffText,
  withSettings,
} from './session-settings.ts'
import { types } from './value-types.ts'

/** How long things may take, and how many may wait. */
export interface PoolLimits {
  /** Connections to the server. */
  readonly connectionsMax: number
  /** The time to make a connection, or to wait for a free one of the pool. */
  readonly waitMs: number
  /** Transactions waiting for a connection; one more is refused at once. */
  readonly waitingMax: number
  readonly statementMs: number
  readonly lockMs: number
  /** Between two statements of a transaction. */
  readonly idleInTransactionMs: number
  /** Of one message of the server: see client.ts. */
  readonly messageBytesMax: number
}

export const defaultLimits: PoolLimits = {
  connectionsMax: 10,
  waitMs: 2000,
  waitingMax: 100,
  statementMs: 15_000,
  lockMs: 10_000,
  idleInTransactionMs: 15_000,
  messageBytesMax,
}

/** How much longer than the server we wait for the server's own time-out to speak. */
const serverGraceMs = 2000

/** Milliseconds until the answer to a statement is given up. */
export function answerMs(limits: PoolLimits): number {
  return limits.statementMs + serverGraceMs
}

/** The settings of every connection, pooled or not. */
export function connectionConfig(url: Secret<string>, limits: PoolLimits): BoundedConfig {
  return {
    connectionString: withSettings(url, {
      statement_timeout: limits.statementMs,
      lock_timeout: limits.lockMs,
      idle_in_transaction_session_timeout: limits.idleInTransactionMs,
    }),
    application_name: 'vaultterm',
    connectionTimeoutMillis: limits.waitMs,
    // The server's time-out cancels the statement. Ours is for a server that does not answer at all.
    query_timeout: answerMs(limits),
    keepAlive: true,
    messageBytesMax: limits.messageBytesMax,
    types,
  }
}

/** A pool whose every connection uses the role and has proved that row security applies to it. */
export function openPool(
  url: Secret<string>,
  role: string,
  acrossTenants: string,
  limits: PoolLimits,
  instance: InstanceId | undefined,
): pg.Pool {
  return new pg.Pool({
    ...connectionConfig(url, limits),
    Client: BoundedClient,
    max: limits.connectionsMax,
    idleTimeoutMillis: 30_000,
    onConnect: (client) => takeOnRole(client, role, acrossTenants, instance),
  })
}

/**
 * Narrows the connection to role, whatever the login could do, and refuses one that is not bound:
 * a superuser, a role with BYPASSRLS and the owner of a table are not held by its policies.
 */
async function takeOnRole(
  client: pg.ClientBase,
  role: string,
  acrossTenants: string,
  instance: InstanceId | undefined,
): Promise<void> {
  // The brand is the compiler's promise only, and this text is part of a statement.
  if (instance !== undefined && parseInstanceId(instance) === undefined) {
    throw new TypeError('not an instance id')
  }
  try {
    await client.query(
      `${takeBackSettings}
       set role ${pg.escapeIdentifier(role)};
       set app.instance = '${instance ?? ''}'`,
    )
  } catch (err) {
    if (!(err instanceof pg.DatabaseError)) throw err
    if (err.code === triggersOffState) throw new DatabaseRoleWrong(role, triggersOffText, err)
    throw new DatabaseRoleWrong(
      role,
      `cannot be used (${err.code}): run \`vaultterm migrate\``,
      err,
    )
  }
  const { rows } = await client.query<Standing>(standing, [acrossTenants])
  const [found] = rows
  if (found?.name !== role) throw new DatabaseRoleWrong(role, 'was not set')
  if (found.privileged) throw new DatabaseRoleWrong(role, 'is a superuser or bypasses row security')
  if (found.owns)
    throw new DatabaseRoleWrong(role, 'owns tables, or is a member of a role that does')
  if (!found.mayLookAcross) {
    throw new DatabaseRoleWrong(acrossTenants, 'is not granted to the login')
  }
}

interface Standing {
  readonly name: string
  readonly privileged: boolean
  readonly owns: boolean
  readonly mayLookAcross: boolean
}

const standing = `
  select current_user as name, r.rolsuper or r.rolbypassrls as privileged,
    exists (select from pg_class c
      where c.relnamespace = 'public'::regnamespace
        and pg_has_role(r.oid, c.relowner, 'member')) as owns,
    pg_has_role(session_user, $1, 'member') as "mayLookAcross"
  from pg_roles r where r.rolname = current_user`

/** Why no connection came about, without anything of the URL. */
export function connectReason(err: unknown): string {
  return err instanceof pg.DatabaseError ? err.message : transportReason(err)
}
