import { type Database, systemTenant, type TenantId } from '../postgres/index.ts'
import { PasskeyRefused } from './errors.ts'
import type { Person } from './identity.ts'
import { insertChallenge, takeChallenge } from './passkey-queries.ts'
import { answerSeconds, challengeHash, challengeIn, newChallenge } from './webauthn.ts'

/** Whose challenge it is, and what for: an answer to it counts for nothing else. */
export interface ChallengeFor {
  readonly purpose: string
  /** All three are of one web session. Nobody is known before a sign-in, and its challenges are the platform's. */
  readonly tenant?: TenantId
  readonly user?: Person
  readonly session?: string
}

/** What browsers have to sign: each once, for a short time, for one purpose. The database has hashes only. */
export class Challenges {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async make({ purpose, tenant = systemTenant, user, session }: ChallengeFor): Promise<string> {
    const challenge = newChallenge()
    const row = {
      hash: challengeHash(challenge),
      purpose,
      user: user?.id ?? null,
      session: session ?? null,
    }
    await this.#database.write(tenant, (tx) => insertChallenge(tx, row, answerSeconds), {
      retry: true,
    })
    return challenge
  }

  /** The challenge that the answer is to. It is spent, whatever comes of it. Throws PasskeyRefused. */
  async take(
    answer: { readonly clientDataJSON: string },
    { purpose, tenant = systemTenant, user, session }: ChallengeFor,
  ): Promise<string> {
    const challenge = challengeIn(answer)
    if (challenge === undefined) throw new PasskeyRefused()
    const row = {
      hash: challengeHash(challenge),
      purpose,
      user: user?.id ?? null,
      session: session ?? null,
    }
    const taken = await this.#database.write(tenant, (tx) => takeChallenge(tx, row), {
      retry: true,
    })
    if (taken === undefined) throw new PasskeyRefused()
    return challenge
  }
}
