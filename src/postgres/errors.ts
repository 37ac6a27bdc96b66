import pg from 'pg'
import { CodedError, errorCode } from '../errors.ts'

/**
 * The database did not answer, not in time, or is read-only. Whether a transaction that was being
 * committed succeeded is then unknown.
 */
export class DatabaseUnavailable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_DATABASE_UNAVAILABLE'

  constructor(reason: string, cause?: unknown) {
    super(`the database is unavailable: ${reason}`, { cause })
  }
}

/**
 * What the database answered is no answer that we read: its connection was given up. It is the fault of a row,
 * not an outage.
 */
export class DatabaseAnswerUnreadable extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_DATABASE_ANSWER'

  constructor(reason: string, cause?: unknown) {
    super(`an answer of the database ${reason}`, { cause })
  }
}

/**
 * This process lost its lease, and another process has ended its instance. It must not serve, and
 * the database refuses its writes to logs.
 */
export class NodeLeaseLost extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_NODE_LEASE_LOST'

  constructor(cause?: unknown) {
    super(
      'this process did not renew its lease in time and another one has taken its place: start it again',
      { cause },
    )
  }
}

/** The login may not take on the role it must serve with, or that role could pass row security by. */
export class DatabaseRoleWrong extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_DATABASE_ROLE'

  constructor(role: string, reason: string, cause?: unknown) {
    super(`the database role ${role} ${reason}`, { cause })
  }
}

/** A migration was refused by the database, and nothing of it was done. */
export class MigrationFailed extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_MIGRATION_FAILED'

  constructor(name: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(`migration ${name} failed, and nothing of it was done: ${reason}`, { cause })
  }
}

/** Another session of the database holds what a migration needs, and did not let it go in time. */
export class MigrationBlocked extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_MIGRATION_BLOCKED'

  constructor(seconds: number, holders: readonly string[], cause?: unknown) {
    const who = holders.length === 0 ? 'nobody any more' : holders.join(', ')
    super(
      `the schema is not up to date, and another session of the database kept a migration waiting for ${seconds} s. ` +
        `Locks are held by: ${who}. Wait for another node that migrates, or end that session ` +
        '(pg_terminate_backend); then start again',
      { cause },
    )
  }
}

/** The database lacks migrations that this program needs. */
export class SchemaBehind extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_SCHEMA_BEHIND'

  constructor(missing: readonly string[]) {
    super(`the database lacks ${missing.join(', ')}: run \`vaultterm migrate\``)
  }
}

/** A newer program has changed the database in a way that this one cannot work with. */
export class SchemaAhead extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_SCHEMA_AHEAD'

  constructor(unknown: readonly string[]) {
    super(
      `the database has ${unknown.join(', ')}, and this version does not know it: upgrade VaultTerm`,
    )
  }
}

/** Somebody changed what the migrations made: acts may leave no trace, or reach another tenant. */
export class SchemaChanged extends CodedError {
  readonly kind = 'unavailable'
  readonly code = 'ERR_SCHEMA_CHANGED'

  constructor(changed: readonly string[]) {
    super(
      `the database differs from what the migrations make: ${listNames(changed)}. Find out who changed it, ` +
        'restore it as the migrations of this version have it, and compare the logs with what happened meanwhile',
    )
  }
}

const namesMax = 5

/** Some names for people. */
export function listNames(names: readonly string[]): string {
  const more = names.length > namesMax ? `, and ${names.length - namesMax} more` : ''
  return names.slice(0, namesMax).join(', ') + more
}

/** A migration file differs from the one that was applied under its name. */
export class MigrationEdited extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_SCHEMA_EDITED'

  constructor(name: string) {
    super(
      `migration ${name} was applied with other contents: restore it and add a new file instead`,
    )
  }
}

/** The package that a migration takes statements from is not the one that it was written for. */
export class MigrationSourceDiffers extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_MIGRATION_SOURCE'

  constructor(migration: string, source: string, found: string) {
    super(
      `migration ${migration} needs the statements of ${source} exactly, and this program has others ` +
        `(sha256 ${found}): install the packages of package-lock.json`,
    )
  }
}

/** A constraint said no: an expected answer, which a caller may turn into one of its own. */
export interface Violation {
  readonly kind: 'unique' | 'foreign-key' | 'check'
  readonly constraint: string
}

const violations: { readonly [sqlState: string]: Violation['kind'] } = {
  '23505': 'unique',
  '23503': 'foreign-key',
  '23514': 'check',
}

/** Which constraint an error of a statement names; undefined when it is another failure. */
export function violation(err: unknown): Violation | undefined {
  if (!(err instanceof pg.DatabaseError)) return undefined
  const kind = violations[err.code ?? '']
  return kind && { kind, constraint: err.constraint ?? '' }
}

/** The name that a function of our migrations gives its refusal: `VT001`; undefined for other errors. */
export function raised(err: unknown): string | undefined {
  return err instanceof pg.DatabaseError && err.code?.startsWith('VT') ? err.code : undefined
}

/** The database had no room: https://www.postgresql.org/docs/current/errcodes-appendix.html */
export function isDiskFull(err: unknown): boolean {
  const cause = err instanceof DatabaseUnavailable ? err.cause : err
  return cause instanceof pg.DatabaseError && cause.code === diskFull
}

/** Whether the same transaction may succeed when it is run again: a deadlock, a lost race. */
export function isRetryable(err: unknown): boolean {
  return err instanceof pg.DatabaseError && (err.code === '40001' || err.code === '40P01')
}

/** The function node_require_lease of the migrations raises it. */
const leaseLost = 'VT018'

/** The function node_make_room of the migrations raises it. */
const nodesMany = 'VT026'

/**
 * An outage becomes DatabaseUnavailable; an error of the statement itself is returned unchanged.
 */
export function translate(err: unknown, writing: boolean): unknown {
  // The server sent a value that our types cannot hold; the connection itself still works.
  if (err instanceof RangeError || err instanceof DatabaseAnswerUnreadable) return err
  // An error without an SQLSTATE did not come from the server: the connection broke or a time ran
  // out.
  if (!(err instanceof pg.DatabaseError)) return new DatabaseUnavailable(transportReason(err), err)
  if (err.code === leaseLost) return new NodeLeaseLost(err)
  if (err.code === nodesMany) {
    return new DatabaseUnavailable(`${err.message}: look who fills node_instance`, err)
  }
  const reason = outage(err.code ?? '', writing)
  return reason === undefined ? err : new DatabaseUnavailable(reason, err)
}

/**
 * Prepared statements of a connection that no longer work: the schema has changed under them
 * (`cached plan must not change result type`), or they were dropped.
 */
const lostStatements = ['0A000', '26000', '42P05']

/** The connection cannot be used again, not even to roll back. */
export function isBroken(err: unknown): boolean {
  if (err instanceof RangeError) return false
  if (!(err instanceof pg.DatabaseError)) return true
  return err.severity === 'FATAL' || lostStatements.includes(err.code ?? '')
}

export const fullText = 'its disk is full'
const diskFull = '53100'

function outage(sqlState: string, writing: boolean): string | undefined {
  if (sqlState === '57014') return 'a statement took too long'
  if (sqlState === '55P03') return 'a lock was not free in time'
  if (sqlState === '25P03') return 'a transaction was idle for too long'
  if (sqlState === '25006') return writing ? 'it is read-only' : undefined
  if (sqlState === '53300') return 'it has no connection free'
  if (sqlState === diskFull) return fullText
  if (sqlState.startsWith('53')) return 'it is out of resources'
  if (sqlState.startsWith('57P') || sqlState.startsWith('08')) return 'it is going down or starting'
  return undefined
}

/** For a failure below SQL only the code is shown: messages may have parts of the URL. */
export function transportReason(err: unknown): string {
  return errorCode(err) ?? 'the connection ended, or was not made in time'
}
