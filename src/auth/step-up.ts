import type { Database } from '../postgres/index.ts'
import { FactorMissing, SignInStale } from './errors.ts'
import type { WebIdentity } from './identity.ts'
import { countPasskeys } from './passkey-queries.ts'
import { findProof, findSessionPerson } from './web-session-queries.ts'

/**
 * What a person may be asked to prove freshly that it is them for. A proof is for one of these, in one web
 * session, and lasts 300 s.
 */
export const stepUpPurposes = ['factor.change', 'key.change', 'member.change'] as const
export type StepUpPurpose = (typeof stepUpPurposes)[number]

export const proofSeconds = 300
/** How old a sign-in may be that lets somebody without a factor add the first one. */
const firstFactorMinutes = 15

/**
 * How the person proved it: `passkey`. Undefined if they did not, and can. Throws FactorMissing for a
 * person who cannot.
 *
 * Somebody without a factor may add the first one right after the sign-in, which is then the proof.
 * Throws SignInStale later.
 */
export async function findStepUp(
  database: Database,
  { tenant, user, session }: WebIdentity,
  purpose: string,
): Promise<string | undefined> {
  const found = await database.read(tenant, async (tx) => ({
    proof: await findProof(tx, session, purpose),
    factors: await countPasskeys(tx, user.id),
    person: await findSessionPerson(tx, session),
  }))
  if (found.factors > 0) return found.proof?.method
  if (purpose !== 'factor.change') throw new FactorMissing()
  const ago = found.person?.provedSecondsAgo ?? Number.POSITIVE_INFINITY
  if (ago > firstFactorMinutes * 60) throw new SignInStale(firstFactorMinutes)
  return 'sign-in'
}
