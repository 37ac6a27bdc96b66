import { appendEvent } from '../audit/index.ts'
import type { Database, WriteTx } from '../postgres/index.ts'
import { type Actor, actorKeys, actorNames } from './actor.ts'
import { WebSessionMissing } from './errors.ts'
import type { Person, SignInProof, WebIdentity } from './identity.ts'
import { requireLive } from './step-up.ts'
import { idleSeconds } from './web-login.ts'
import {
  deleteOtherWebSessions,
  deleteWebSessionOf,
  listWebSessions,
  type WebSessionDetails,
} from './web-session-queries.ts'

/** One browser in which a person is signed in. Times are RFC 3339, UTC. */
export interface WebSession {
  readonly id: string
  /** Whether it is the one that asks. */
  readonly current: boolean
  readonly proof: SignInProof
  /** When it last proved who it is. */
  readonly provedAt: string
  readonly createdAt: string
  /** The last use, to the minute. */
  readonly seenAt: string
  readonly expiresAt: string
  /** As the browser called itself; empty if unknown. */
  readonly device: string
  /** The address that it signed in from; empty if unknown. */
  readonly source: string
}

/** A person's own web sessions. */
export interface OwnWebSessions {
  /** The live ones, the last used first. */
  list(person: WebIdentity): Promise<readonly WebSession[]>
  /** Ends one at once. Throws WebSessionMissing, for another person's too. */
  endOne(person: WebIdentity, id: string, actor: Actor): Promise<void>
  /** Ends all but the one that asks. Answers how many. */
  endOthers(person: WebIdentity, actor: Actor): Promise<number>
}

export function createOwnWebSessions(database: Database): OwnWebSessions {
  return {
    async list({ tenant, user, session }) {
      const rows = await database.read(tenant, (tx) => listWebSessions(tx, user.id, idleSeconds))
      return rows.map((row) => fromRow(row, session))
    },
    endOne: (person, id, actor) =>
      database.write(
        person.tenant,
        async (tx) => {
          const { user } = person
          await requireLive(tx, person)
          const ended = await deleteWebSessionOf(tx, user.id, id)
          if (ended === undefined) throw new WebSessionMissing()
          await logEnds(tx, user, [ended], actor)
        },
        { retry: true },
      ),
    endOthers: (person, actor) =>
      database.write(
        person.tenant,
        async (tx) => {
          await requireLive(tx, person)
          return endOtherSessions(tx, person.user, person.session, actor)
        },
        { retry: true },
      ),
  }
}

/** Ends all web sessions of a person, or all but one, on the log. Answers how many. */
export async function endOtherSessions(
  tx: WriteTx,
  user: Person,
  kept: string | undefined,
  actor: Actor,
): Promise<number> {
  const ended = await deleteOtherWebSessions(tx, user.id, kept)
  await logEnds(tx, user, ended, actor)
  return ended.length
}

async function logEnds(
  tx: WriteTx,
  user: Person,
  ended: readonly { readonly id: string }[],
  actor: Actor,
): Promise<void> {
  for (const { id } of ended) {
    await appendEvent(tx, {
      type: 'web.logout',
      public: { user: user.id, webSession: id, role: user.role, ...actorKeys(actor) },
      private: { name: user.name, ...actorNames(actor) },
    })
  }
}

function fromRow(row: WebSessionDetails, current: string): WebSession {
  return {
    id: row.id,
    current: row.id === current,
    proof: row.proof,
    provedAt: row.provedAt.toISOString(),
    createdAt: row.createdAt.toISOString(),
    seenAt: row.seenAt.toISOString(),
    expiresAt: row.expiresAt.toISOString(),
    device: row.device,
    source: row.source,
  }
}
