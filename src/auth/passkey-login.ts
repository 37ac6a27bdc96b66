import { appendEvent } from '../audit/index.ts'
import type { Database, TenantId, WriteTx } from '../postgres/index.ts'
import { Challenges } from './challenges.ts'
import { FactorMissing, PasskeyRefused } from './errors.ts'
import { FailureBudget } from './failures.ts'
import type { Person, Visitor, WebIdentity } from './identity.ts'
import type { KeyVault } from './keys.ts'
import {
  countUse,
  findCredential,
  listPasskeys,
  lockUser,
  type PasskeyRow,
} from './passkey-queries.ts'
import { passkeyRecord } from './passkey-record.ts'
import { hintOf } from './passkeys.ts'
import { proofSeconds, type StepUpPurpose } from './step-up.ts'
import { decodeUserHandle } from './user-handle.ts'
import type { WebLogin } from './web-login.ts'
import {
  type Assertion,
  type RelyingParty,
  type RequestOptions,
  requestOptions,
  verifyAssertion,
} from './webauthn.ts'

/** Sign-in by a passkey, and fresh proofs by it. */
export interface PasskeyLogins {
  /** What a stranger's browser is asked. */
  beginSignIn(rp: RelyingParty): Promise<RequestOptions>
  /** The cookie of a new web session. Throws PasskeyRefused, VaultSealed. */
  signIn(rp: RelyingParty, answer: Assertion, visitor: Visitor): Promise<string>
  /** What the person's browser is asked. Throws FactorMissing. */
  beginStepUp(
    person: WebIdentity,
    rp: RelyingParty,
    purpose: StepUpPurpose,
  ): Promise<RequestOptions>
  /**
   * A proof for this purpose in this web session. The session's cookie is a new one from then on. Throws
   * PasskeyRefused, VaultSealed.
   */
  stepUp(
    person: WebIdentity,
    rp: RelyingParty,
    wish: { readonly purpose: StepUpPurpose; readonly answer: Assertion },
    visitor: Visitor,
  ): Promise<{ readonly cookie: string; readonly expiresAt: string }>
}

interface Plane {
  /** Each has challenges of its own. */
  readonly name: 'portal' | 'admin'
  serves(tenant: TenantId): boolean
}

interface Place {
  readonly tenant: TenantId
  readonly user: string
}

/** What the log says of a refused proof; nothing of a refused sign-in, in which nobody is known. */
interface RefusedFacts {
  readonly user?: string
  readonly webSession?: string
  readonly purpose?: string
}

/** A passkey that proved itself, in the state before. */
interface Proven {
  readonly row: PasskeyRow & { readonly person: Person }
  readonly counter: number
}

export class PasskeyLogin implements PasskeyLogins {
  readonly #database: Database
  readonly #vault: KeyVault
  readonly #web: WebLogin
  readonly #plane: Plane
  readonly #challenges: Challenges
  readonly #refusals = new FailureBudget()

  constructor(database: Database, vault: KeyVault, web: WebLogin, plane: Plane) {
    this.#database = database
    this.#vault = vault
    this.#web = web
    this.#plane = plane
    this.#challenges = new Challenges(database)
  }

  async beginSignIn(rp: RelyingParty): Promise<RequestOptions> {
    return requestOptions(rp, await this.#challenges.make(this.#signingIn), [])
  }

  async signIn(rp: RelyingParty, answer: Assertion, visitor: Visitor): Promise<string> {
    const challenge = await this.#challenges.take(answer, this.#signingIn)
    const place = decodeUserHandle(answer.userHandle)
    if (place === undefined || !this.#plane.serves(place.tenant)) throw new PasskeyRefused()
    return this.#orLogged(place, visitor, {}, async () => {
      const proven = await this.#prove(place, rp, challenge, answer)
      const sign = async (tx: WriteTx) => {
        await countProof(tx, proven)
        const { id: factor, person } = proven.row
        return this.#web.open(tx, place.tenant, person, { proof: 'passkey', factor }, visitor)
      }
      return this.#database.write(place.tenant, sign, { retry: true })
    })
  }

  async beginStepUp(
    person: WebIdentity,
    rp: RelyingParty,
    purpose: StepUpPurpose,
  ): Promise<RequestOptions> {
    const { tenant, user } = person
    const rows = await this.#database.read(tenant, (tx) => listPasskeys(tx, user.id))
    if (rows.length === 0) throw new FactorMissing()
    const challenge = await this.#challenges.make({ ...person, purpose: `step-up ${purpose}` })
    return requestOptions(rp, challenge, rows.map(hintOf))
  }

  async stepUp(
    person: WebIdentity,
    rp: RelyingParty,
    { purpose, answer }: { readonly purpose: StepUpPurpose; readonly answer: Assertion },
    visitor: Visitor,
  ): Promise<{ readonly cookie: string; readonly expiresAt: string }> {
    const { tenant, user, session: webSession } = person
    const challenge = await this.#challenges.take(answer, {
      ...person,
      purpose: `step-up ${purpose}`,
    })
    const place = { tenant, user: user.id }
    const facts = { user: user.id, webSession, purpose }
    return this.#orLogged(place, visitor, facts, async () => {
      const proven = await this.#prove(place, rp, challenge, answer)
      const expiresAt = new Date(Date.now() + proofSeconds * 1000).toISOString()
      const factor = { proof: 'passkey', factor: proven.row.id, purpose, expiresAt } as const
      const cookie = await this.#database.write(
        tenant,
        async (tx) => {
          await lockUser(tx, user.id)
          await countProof(tx, proven)
          return this.#web.stepUp(tx, person, factor, visitor)
        },
        { retry: true },
      )
      return { cookie, expiresAt }
    })
  }

  get #signingIn() {
    return { purpose: `sign-in ${this.#plane.name}` }
  }

  /** Throws PasskeyRefused unless the answer proves a passkey that this user has, as VaultTerm wrote it. */
  async #prove(
    { tenant, user }: Place,
    rp: RelyingParty,
    challenge: string,
    answer: Assertion,
  ): Promise<Proven> {
    const id = Buffer.from(answer.id, 'base64url')
    const row = await this.#database.read(tenant, (tx) => findCredential(tx, user, id))
    if (row === undefined) throw new PasskeyRefused()
    const { tag } = row
    const [isIntact] = await this.#vault.areIntact(tenant, [{ record: passkeyRecord(row), tag }])
    if (isIntact !== true) throw new PasskeyRefused()
    const { credentialId, publicKey, counter: before } = row
    const credential = { id: credentialId, publicKey, counter: before }
    const counter = await verifyAssertion(rp, challenge, answer, credential).catch((err) => {
      throw new PasskeyRefused(err)
    })
    if (counter === undefined) throw new PasskeyRefused()
    return { row, counter }
  }

  /** A refusal is on the log of the tenant that it was tried in, as often as its address may fill that. */
  async #orLogged<T>(
    { tenant }: Place,
    { source, device }: Visitor,
    facts: RefusedFacts,
    work: () => Promise<T>,
  ): Promise<T> {
    try {
      return await work()
    } catch (err) {
      if (!(err instanceof PasskeyRefused)) throw err
      // Whoever names tenants that do not exist leaves nothing, not even a count.
      const isTenant = await this.#database.read(tenant, (tx) => tx.maybe('select from tenant'))
      const held = isTenant && this.#refusals.take(tenant, source)
      if (held !== undefined) await this.#log(tenant, { source, device }, facts, held)
      throw err
    }
  }

  async #log(
    tenant: TenantId,
    { source, device }: Visitor,
    facts: RefusedFacts,
    held: number,
  ): Promise<void> {
    await this.#database.write(tenant, (tx) =>
      appendEvent(tx, {
        type: 'web.refused',
        public: {
          ...facts,
          proof: 'passkey',
          code: 'ERR_PASSKEY_REFUSED',
          count: String(held + 1),
        },
        private: { source, device },
      }),
    )
  }
}

/** Throws PasskeyRefused for one that was used meanwhile, or whose copy was used before. */
async function countProof(tx: WriteTx, { row, counter }: Proven): Promise<void> {
  if ((await countUse(tx, row.id, counter)) === 0) throw new PasskeyRefused()
}
