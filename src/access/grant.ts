import { appendEvent } from '../audit/index.ts'
import { type Actor, actorKeys, type Role, roles, UserMissing } from '../auth/index.ts'
import { type Database, type ReadTx, type TenantId, violation } from '../postgres/index.ts'
import { type ChannelKind, channelKinds, isChannelKind, kindsByDefault } from './channel-kind.ts'
import { AccessLimit, GrantInvalid, GrantMissing } from './errors.ts'
import { isForwardPattern } from './forward-pattern.ts'
import {
  countGrants,
  deleteGrant,
  findGrant,
  type GrantRow,
  insertGrant,
  listGrants,
} from './grant-queries.ts'
import type { GrantId } from './ids.ts'
import { findUserByName } from './people-queries.ts'
import { requireTarget } from './target.ts'
import { isLogin } from './target-fields.ts'

/** A rule that lets a user, or every user of a role, open a target, or all targets. */
export interface Grant {
  readonly id: GrantId
  /** By name. One of user and role is there. */
  readonly user: string | undefined
  readonly role: Role | undefined
  /** By name, or '*' for every target. */
  readonly target: string
  /** None: all of the target's. */
  readonly logins: readonly string[]
  readonly allow: readonly ChannelKind[]
  /** Allowed destinations of forwards, as `host:port`. None: all. */
  readonly forwards: readonly string[]
  /** RFC 3339, UTC; the grant has expired from then on. */
  readonly until: string | undefined
  readonly createdAt: string
}

export interface NewGrant {
  readonly user?: string
  readonly role?: Role
  readonly target: string
  readonly logins?: readonly string[]
  readonly allow?: readonly ChannelKind[]
  readonly forwards?: readonly string[]
  readonly until?: string
}

export interface Grants {
  /** Throws GrantInvalid with the reason, UserMissing, TargetMissing, AccessLimit. */
  addGrant(tenant: TenantId, grant: NewGrant, actor: Actor): Promise<Grant>
  /** Oldest first; those that have run out among them. */
  listGrants(tenant: TenantId): Promise<readonly Grant[]>
  /** Ends the live sessions that only this grant allowed. Throws GrantMissing. */
  removeGrant(tenant: TenantId, id: string, actor: Actor): Promise<Grant>
}

const grantsMax = 10_000
const loginsMax = 32
const forwardsMax = 64
const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export function createGrants(database: Database): Grants {
  return {
    async addGrant(tenant, fields, actor) {
      const { logins, allow, forwards, until } = checkGrant(fields)
      try {
        return await database.write(tenant, async (tx) => {
          if ((await countGrants(tx)) >= grantsMax) throw new AccessLimit('grants', grantsMax)
          const user = fields.user === undefined ? null : await requireUser(tx, fields.user)
          const target = fields.target === '*' ? null : await requireTarget(tx, fields.target)
          const unknown = logins.find((login) => target?.logins.includes(login) === false)
          if (unknown !== undefined) {
            throw new GrantInvalid(
              `${fields.target} has no login ${unknown}: it has ${target?.logins.join(', ')}`,
            )
          }
          const id = await insertGrant(tx, {
            userId: user?.id ?? null,
            role: fields.role ?? null,
            targetId: target?.id ?? null,
            logins,
            allow,
            forwards,
            until,
          })
          const row = await requireGrant(tx, id)
          await appendEvent(tx, { type: 'grant.add', ...eventOf(row, actor) })
          return grantOf(row)
        })
      } catch (err) {
        // The user or the target was removed in the same moment.
        if (violation(err)?.kind === 'foreign-key') {
          throw new GrantInvalid('the user or the target has just been removed')
        }
        throw err
      }
    },
    listGrants: async (tenant) => (await database.read(tenant, listGrants)).map(grantOf),
    removeGrant: (tenant, id, actor) =>
      database.write(tenant, async (tx) => {
        const row = await requireGrant(tx, id)
        if ((await deleteGrant(tx, row.id)) === 0) throw new GrantMissing(id)
        await appendEvent(tx, { type: 'grant.remove', ...eventOf(row, actor) })
        return grantOf(row)
      }),
  }
}

async function requireUser(tx: ReadTx, name: string) {
  const row = await findUserByName(tx, name)
  if (row === undefined) throw new UserMissing(name)
  return row
}

async function requireGrant(tx: ReadTx, id: string): Promise<GrantRow> {
  const row = uuid.test(id) ? await findGrant(tx, id) : undefined
  if (row === undefined) throw new GrantMissing(id)
  return row
}

function checkGrant(grant: NewGrant) {
  const { user, role, logins = [], allow = kindsByDefault, forwards = [], until } = grant
  if ((user === undefined) === (role === undefined)) {
    throw new GrantInvalid('a grant names either a user or a role')
  }
  if (role !== undefined && !roles.includes(role)) {
    throw new GrantInvalid(`there is no role ${shown(role)}: choose one of ${roles.join(', ')}`)
  }
  const unknown = allow.find((kind) => !isChannelKind(kind))
  if (unknown !== undefined)
    throw new GrantInvalid(
      `a grant cannot allow ${shown(unknown)}: choose from ${channelKinds.join(', ')}`,
    )
  if (allow.length === 0) throw new GrantInvalid('a grant must allow at least one kind of session')
  const wrong = logins.find((login) => !isLogin(login))
  if (wrong !== undefined) throw new GrantInvalid(`${shown(wrong)} is not a valid login name`)
  if (logins.length > loginsMax)
    throw new GrantInvalid(`a grant can name at most ${loginsMax} logins`)
  const malformed = forwards.find((pattern) => !isForwardPattern(pattern))
  if (malformed !== undefined) {
    throw new GrantInvalid(
      `${shown(malformed)} is not a destination for forwards: write host:port, *.name:443, 10.0.0.0/8:* or [2001:db8::/32]:22`,
    )
  }
  if (forwards.length > forwardsMax) {
    throw new GrantInvalid(`a grant can name at most ${forwardsMax} destinations for forwards`)
  }
  if (forwards.length > 0 && !allow.includes('forward')) {
    throw new GrantInvalid('a grant that names destinations for forwards must also allow `forward`')
  }
  const end = until === undefined ? null : new Date(until)
  // The database takes years of four digits.
  if (end !== null && (Number.isNaN(end.getTime()) || end.toISOString().length > 24)) {
    throw new GrantInvalid(`${shown(until ?? '')} is not a time: write it as 2026-12-31T18:00:00Z`)
  }
  return {
    logins: [...new Set(logins)],
    allow: [...new Set(allow)],
    forwards: [...new Set(forwards)],
    until: end,
  }
}

function grantOf(row: GrantRow): Grant {
  return {
    id: grantId(row.id),
    user: row.user ?? undefined,
    role: row.role ?? undefined,
    target: row.target ?? '*',
    logins: row.logins,
    allow: row.allow,
    forwards: row.forwards,
    until: row.until?.toISOString(),
    createdAt: row.createdAt.toISOString(),
  }
}

function grantId(text: string): GrantId {
  return text as GrantId
}

function eventOf(row: GrantRow, actor: Actor) {
  return {
    public: {
      grant: row.id,
      user: row.userId ?? undefined,
      role: row.role ?? undefined,
      target: row.targetId ?? '*',
      allow: row.allow,
      until: row.until?.toISOString(),
      ...actorKeys(actor),
    },
    private: {
      userName: row.user ?? undefined,
      targetName: row.target ?? undefined,
      logins: row.logins.length === 0 ? undefined : row.logins,
      forwards: row.forwards.length === 0 ? undefined : row.forwards,
      actorName: actor.name,
    },
  }
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 64))
}
