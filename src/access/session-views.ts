import type { Database, ReadTx, TenantId } from '../postgres/index.ts'
import { parseSessionId, type SessionId } from '../recorder/index.ts'
import { type Act, can, type Member, reachOf } from './can.ts'
import type { ChannelKind } from './channel-kind.ts'
import { type CommandFields, commandFields } from './command-fields.ts'
import { findActiveUser } from './people-queries.ts'
import { findSession, findSessionTenant, listSessions } from './session-queries.ts'
import type { SessionRow, SessionVia } from './session-row.ts'

/** One stay of one user on one target, as people see it. Names are those of its time. */
export interface Session extends Partial<CommandFields> {
  readonly id: SessionId
  /** Its slug. */
  readonly tenant: string
  readonly tenantId: TenantId
  readonly user: string
  readonly target: string
  readonly login: string
  readonly kind: ChannelKind
  readonly via: SessionVia
  readonly source: string
  readonly clientIdent: string
  readonly node: string
  /** RFC 3339, UTC. */
  readonly startedAt: string
  /** Null for a live session, and if the time of its end is unknown. */
  readonly endedAt: string | null
  /** How it ended, in one word: ended, client-gone, killed, interrupted, or a code. */
  readonly reason: string | null
  /** The message of a kill, for people; null where the session was not killed. */
  readonly killReason: string | null
  readonly exitStatus: number | null
  readonly exitSignal: string | null
  /** In both directions; null where it is not known: of a live session, and of one that was cut off. */
  readonly bytes: number | null
  /** Whether there is something to watch. */
  readonly recording: boolean
  /** SHA-256 of the whole recording, in hex; null while it is written, and if there is none. */
  readonly recordingSha256: string | null
  /** How long it is; null in the same cases. */
  readonly recordingBytes: number | null
  /** False: the recording does not match its witness. Null: there is no witness. */
  readonly recordingIntact: boolean | null
  readonly live: boolean
}

export interface SessionList {
  /** Only live ones, or only ended ones. */
  readonly live?: boolean | undefined
  /** Only those of a user with this name at the time. */
  readonly user?: string | undefined
  /** Only those on a target with this name at the time. */
  readonly target?: string | undefined
  readonly kind?: ChannelKind | undefined
  /** Default 100; at most 1000. */
  readonly limit?: number
  /** Only sessions that started before this one. */
  readonly before?: SessionId | undefined
}

/** The user who asks: their id counts, and their current role in the database. */
type Viewer = { readonly tenant: TenantId; readonly user: Pick<Member['user'], 'id'> }

const limitMax = 1000

/** Reads sessions: for the operator every one, for a person those that can() gives them. */
export class SessionViews {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async list(tenant: TenantId, list: SessionList): Promise<readonly Session[]> {
    const rows = await this.#database.read(tenant, (tx) => listRows(tx, list, null))
    return rows.map(sessionOf)
  }

  async find(tenant: TenantId, id: string): Promise<Session | undefined> {
    const session = parseSessionId(id)
    if (session === undefined) return undefined
    const row = await this.#database.read(tenant, (tx) => findSession(tx, session))
    return row && sessionOf(row)
  }

  async findAnywhere(id: string): Promise<Session | undefined> {
    const session = parseSessionId(id)
    if (session === undefined) return undefined
    const found = await this.#database.system((tx) => findSessionTenant(tx, session))
    return found && this.find(found.tenant, session)
  }

  async listFor(viewer: Viewer, list: SessionList): Promise<readonly Session[]> {
    return this.#database.read(viewer.tenant, async (tx) => {
      const member = await memberOf(tx, viewer)
      const reach = member === undefined ? 'none' : reachOf(member, 'session.read')
      if (reach === 'none') return []
      return (await listRows(tx, list, reach === 'own' ? viewer.user.id : null)).map(sessionOf)
    })
  }

  async findFor(viewer: Viewer, act: Act, id: string): Promise<Session | undefined> {
    const session = parseSessionId(id)
    if (session === undefined) return undefined
    const [member, row] = await this.#database.read(viewer.tenant, (tx) =>
      Promise.all([memberOf(tx, viewer), findSession(tx, session)]),
    )
    if (member === undefined || row === undefined) return undefined
    const thing = { tenant: row.tenantId, user: row.userId }
    return can(member, act, thing) ? sessionOf(row) : undefined
  }
}

/** The viewer as the database knows them now; undefined for a removed user or a suspended tenant. */
async function memberOf(tx: ReadTx, { tenant, user }: Viewer): Promise<Member | undefined> {
  const now = await findActiveUser(tx, user.id)
  return now && { tenant, user: now }
}

function listRows(
  tx: ReadTx,
  { limit = 100, ...list }: SessionList,
  userId: Member['user']['id'] | null,
): Promise<SessionRow[]> {
  return listSessions(tx, { ...list, userId, limit: Math.min(Math.max(1, limit), limitMax) })
}

function sessionOf(row: SessionRow): Session {
  const { id, tenant, tenantId, user, target, login, kind, via, command, commandBytes } = row
  const { source, clientIdent, node, reason, exitStatus, exitSignal, bytes, recording } = row
  return {
    id,
    tenant,
    tenantId,
    user,
    target,
    login,
    kind,
    via,
    ...(command !== null && commandFields(command, commandBytes ?? command.length)),
    source,
    clientIdent,
    node,
    startedAt: row.startedAt.toISOString(),
    endedAt: row.endKnown ? (row.endedAt?.toISOString() ?? null) : null,
    reason,
    killReason: row.killReason,
    exitStatus,
    exitSignal,
    bytes,
    recording,
    recordingSha256: row.recordingSha256?.toString('hex') ?? null,
    recordingBytes: row.recordingBytes,
    recordingIntact: row.recordingIntact,
    live: row.endedAt === null,
  }
}
