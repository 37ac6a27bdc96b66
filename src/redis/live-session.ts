import { z } from 'zod'

/** A session that is open on some node, as the lists show it. */
export interface LiveSession {
  readonly tenant: string
  readonly session: string
  readonly node: string
  readonly user: string
  readonly target: string
  readonly login: string
  readonly kind: string
  /** RFC 3339, UTC. */
  readonly startedAt: string
}

/** The live sessions of all nodes. It may be out of date, and no decision depends on it. */
export interface LiveRegistry {
  /** Enters a session or renews it; without renewal it is gone after ttlMs. Never rejects. */
  put(entry: LiveSession, ttlMs: number): Promise<void>
  /** Takes a session out, if it is there. Never rejects. */
  remove(tenant: string, session: string): Promise<void>
  /** The tenant's sessions, oldest first; while Redis is away, those of this node. Never rejects. */
  list(tenant: string): Promise<LiveSession[]>
}

const text = z.string().max(256)
const liveSession = z.strictObject({
  tenant: text,
  session: text,
  node: text,
  user: text,
  target: text,
  login: text,
  kind: text,
  startedAt: z.iso.datetime(),
})

export function formatLiveSession(entry: LiveSession): string {
  const { tenant, session, node, user, target, login, kind, startedAt } = entry
  return JSON.stringify({ tenant, session, node, user, target, login, kind, startedAt })
}

/** Reads a value that anybody may have written; undefined if it is not a live session. */
export function parseLiveSession(value: string): LiveSession | undefined {
  try {
    return liveSession.parse(JSON.parse(value))
  } catch {
    // Not JSON, or another shape: a foreign value is ignored.
    return undefined
  }
}

export function oldestFirst(entries: readonly LiveSession[]): LiveSession[] {
  return entries.toSorted(
    (a, b) => compare(a.startedAt, b.startedAt) || compare(a.session, b.session),
  )
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
