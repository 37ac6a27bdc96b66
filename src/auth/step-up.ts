import type { Database, ReadTx, WriteTx } from '../postgres/index.ts'
import { FactorMissing, ProofGone, SignInStale, WebSessionMissing } from './errors.ts'
import type { WebIdentity } from './identity.ts'
import { countPasskeys, lockUser } from './passkey-queries.ts'
import { idleSeconds } from './web-login.ts'
import { findProof, findSessionPerson, holdWebSession } from './web-session-queries.ts'

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
export function findStepUp(
  database: Database,
  person: WebIdentity,
  purpose: string,
): Promise<string | undefined> {
  return database.read(person.tenant, (tx) => findIn(tx, person, purpose))
}

/**
 * In the transaction of an act: the web session, or what the person proved, may be gone since the request was
 * let in. The session does not end before the act does. Throws WebSessionMissing, ProofGone.
 */
export async function requireConfirmed(
  tx: WriteTx,
  person: WebIdentity,
  purpose: StepUpPurpose,
): Promise<void> {
  await requireLive(tx, person)
  if ((await findIn(tx, person, purpose)) === undefined) throw new ProofGone()
}

/**
 * The same for an act that needs no fresh proof. Takes the user's lock first: two of their browsers would
 * otherwise hold their own sessions and wait for each other's.
 */
export async function requireLive(tx: WriteTx, { user, session }: WebIdentity): Promise<void> {
  await lockUser(tx, user.id)
  if (!(await holdWebSession(tx, session, user.id, idleSeconds))) throw new WebSessionMissing()
}

async function findIn(
  tx: ReadTx,
  { user, session }: WebIdentity,
  purpose: string,
): Promise<string | undefined> {
  const found = {
    proof: await findProof(tx, session, purpose),
    factors: await countPasskeys(tx, user.id),
    person: await findSessionPerson(tx, session),
  }
  if (found.factors > 0) return found.proof?.method
  if (purpose !== 'factor.change') throw new FactorMissing()
  const ago = found.person?.provedSecondsAgo ?? Number.POSITIVE_INFINITY
  if (ago > firstFactorMinutes * 60) throw new SignInStale(firstFactorMinutes)
  return 'sign-in'
}
