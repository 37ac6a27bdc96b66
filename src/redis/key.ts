import { hash } from 'node:crypto'

/** The purpose of a key, and the parts that make it unique. */
export type KeyParts =
  /** The set of a tenant's live sessions, by the time they expire. */
  | readonly [kind: 'live', tenant: string]
  /** One live session. */
  | readonly [kind: 'live-session', tenant: string, session: string]

/**
 * The only maker of keys. The parts are hashed as a JSON list, so that no choice of names makes
 * two keys one, and no name is ever a pattern.
 */
export function redisKey(...parts: KeyParts): string {
  return `vaultterm:${parts[0]}:${hash('sha256', JSON.stringify(parts), 'base64url')}`
}
