import { type AuditEvent, appendEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import { type Database, systemTenant, type TenantId } from '../postgres/index.ts'
import { fingerprint, parseUserauthRequest, verifyUserSignature, WireError } from '../ssh/index.ts'
import { FailureBudget } from './failures.ts'
import type { Identity } from './identity.ts'
import { findHolder } from './queries.ts'

/** A signed login request: RFC 4252 section 7. */
export interface SignedAttempt {
  readonly user: string
  /** As the request names it: `rsa-sha2-256`. */
  readonly algorithm: string
  /** The public key as on the wire. */
  readonly key: Buffer
  /** The whole signature as on the wire. */
  readonly signature: Buffer
  /** What is said to be signed. */
  readonly signedData: Buffer
}

export interface SshLogin {
  /** Undefined when no tenant has the name that was given. */
  readonly tenant: TenantId | undefined
  readonly attempt: SignedAttempt
  /** The address it came from. */
  readonly source: string
}

const pendingMax = 64

/** Says who a signed login request proves somebody to be. */
export class SshLogins {
  readonly #database: Database
  readonly #log: Log
  readonly #failures = new FailureBudget()
  #pending = 0

  constructor(database: Database, log: Log) {
    this.#database = database
    this.#log = log
  }

  /**
   * Verifies the signature, then looks the whole key up in the tenant. Nobody's tenant and nobody's
   * key cost the same work and get the same answer.
   */
  async authenticate({ tenant, attempt, source }: SshLogin): Promise<Identity | undefined> {
    const verified = verifyUserSignature({
      key: attempt.key,
      algorithm: attempt.algorithm,
      signature: attempt.signature,
      data: attempt.signedData,
    })
    const proven = verified && isRequestOf(attempt)
    // The platform's own tenant has no keys: looking there is what an unknown name costs.
    const place = tenant ?? systemTenant
    const holder = await this.#database.read(place, (tx) => findHolder(tx, attempt.key))
    if (tenant === undefined) return undefined
    if (!proven || holder === undefined) {
      this.#failed(tenant, attempt, source, proven ? 'unknown-key' : 'bad-signature')
      return undefined
    }
    const { tenantSlug, fingerprint: keyFingerprint, ...user } = holder
    await this.#append(tenant, {
      type: 'login.success',
      public: {
        user: user.id,
        method: 'publickey',
        fingerprint: keyFingerprint,
        algorithm: attempt.algorithm,
        actor: user.id,
        actorKind: 'user',
      },
      private: { name: user.name, source },
    })
    return { tenant, tenantSlug, user, keyFingerprint }
  }

  /** Not awaited: the time of an append would tell a stranger which tenants there are. */
  #failed(tenant: TenantId, { key, algorithm }: SignedAttempt, source: string, code: string): void {
    if (this.#pending >= pendingMax) return
    const held = this.#failures.take(tenant, source)
    if (held === undefined) return
    this.#pending++
    this.#append(tenant, {
      type: 'login.failure',
      public: {
        method: 'publickey',
        fingerprint: fingerprint(key),
        algorithm,
        code,
        ...(held > 0 && { count: String(held + 1) }),
      },
      private: { source },
    })
      .catch((err: unknown) => this.#log.error({ err, tenant }, 'a failed login is not on the log'))
      .finally(() => this.#pending--)
  }

  async #append(tenant: TenantId, event: AuditEvent): Promise<void> {
    await this.#database.write(tenant, (tx) => appendEvent(tx, event))
  }
}

/** A signature by the same key over anything else, a commit or a file, logs nobody in. */
function isRequestOf({ user, algorithm, key, signedData }: SignedAttempt): boolean {
  try {
    const request = parseUserauthRequest(signedData)
    return request.user === user && request.algorithm === algorithm && request.key.equals(key)
  } catch (err) {
    if (err instanceof WireError) return false
    throw err
  }
}
