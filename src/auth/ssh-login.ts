import { type AuditEvent, appendLastEvent } from '../audit/index.ts'
import type { Log } from '../log.ts'
import {
  type Database,
  type ReadTx,
  systemTenant,
  type TenantId,
  type WriteTx,
} from '../postgres/index.ts'
import {
  type AuthAttempt,
  type Certificate,
  checkCertificate,
  fingerprint,
  type KeyRevocationList,
} from '../ssh/index.ts'
import type { TaggedRow, Vault } from '../vault/index.ts'
import { FailureBudget } from './failures.ts'
import type { Identity, LoginCertificate, Person } from './identity.ts'
import { taggedRow } from './key-record.ts'
import { touchKey } from './own-key-queries.ts'
import { type Proof, prove } from './proof.ts'
import { countSignature, findHolder, findPerson } from './queries.ts'

export interface SshLogin {
  /** Undefined when no tenant has the given name. */
  readonly tenant: TenantId | undefined
  readonly attempt: AuthAttempt
  /** The address it came from. */
  readonly source: string
}

/** The authorities and revocations that login certificates are checked against. */
export interface LoginCertificates {
  trust(
    tx: ReadTx,
    tenant: TenantId,
    certificate: Certificate | undefined,
  ): Promise<{
    readonly authorities: readonly { readonly generation: number; readonly publicKey: Buffer }[]
    readonly revocations: KeyRevocationList
  }>
  /** The id of the user with this principal. */
  userOf(principal: string): string | undefined
}

/** What happens to the certificates of a key that is taken away. */
export interface KeyCertificates {
  /** Revokes those of the user that would be valid after the end of the key; without an end, all. */
  revokeOfKey(
    tx: WriteTx,
    key: { readonly user: string; readonly fingerprint: string; readonly end?: Date | undefined },
    by: { readonly [key: string]: string },
  ): Promise<void>
  isRevokedKey(tx: ReadTx, fingerprint: string): Promise<boolean>
}

/** A user that was found, with the restrictions of the login. */
interface Found extends Person {
  readonly tenantSlug: string
  readonly certificate?: LoginCertificate
  /** The registered key, with its tag; a certificate has none. */
  readonly key?: TaggedRow
}

/** Failed logins of a tenant that wait to be written: beyond, they are counted. */
const pendingMax = 16

/** Finds the user of a signed login request. */
export class SshLogins {
  readonly #database: Database
  readonly #vault: Pick<Vault, 'areIntact'>
  readonly #certificates: LoginCertificates
  readonly #log: Log
  readonly #failures = new FailureBudget()
  readonly #pending = new Map<TenantId, number>()

  constructor(
    database: Database,
    vault: Pick<Vault, 'areIntact'>,
    certificates: LoginCertificates,
    log: Log,
  ) {
    this.#database = database
    this.#vault = vault
    this.#certificates = certificates
    this.#log = log
  }

  /**
   * Verifies the signature, then looks the whole key up in the tenant, or checks the certificate
   * there. An unknown tenant and an unknown key cost the same work and get the same answer.
   */
  async authenticate({ tenant, attempt, source }: SshLogin): Promise<Identity | undefined> {
    const proof = prove(attempt)
    // The platform's own tenant has no keys: an unknown name costs a look-up there.
    const owner = tenant ?? systemTenant
    const found = await this.#database.read(owner, (tx) =>
      attempt.algorithm.includes('-cert-v01@')
        ? this.#certified(tx, owner, proof, source)
        : findRegistered(tx.last(), proof, attempt.key),
    )
    if (tenant === undefined) return undefined
    if (proof === undefined || 'problem' in found) {
      const problem = proof === undefined ? 'bad-signature' : 'problem' in found && found.problem
      this.#failed(tenant, attempt, source, problem === false ? 'unknown-key' : problem)
      return undefined
    }
    const { tenantSlug, certificate, key, ...user } = found
    // Only now: the time of this check is visible to the holder of the key, and to no stranger.
    if (key !== undefined && !(await this.#vault.areIntact(tenant, [key]))[0]) {
      this.#failed(tenant, attempt, source, 'changed-key')
      return undefined
    }
    const { statement, fingerprint: keyFingerprint } = proof
    const event: AuditEvent = {
      type: 'login.success',
      public: {
        user: user.id,
        method: 'publickey',
        fingerprint: keyFingerprint,
        algorithm: attempt.algorithm,
        generation: certificate?.generation.toString(),
        serial: certificate?.serial,
        counter: statement?.counter.toString(),
        actor: user.id,
        actorKind: 'user',
      },
      private: { name: user.name, source },
    }
    const counted = await this.#database.write(tenant, async (tx) => {
      // The counter of a copied security key falls behind that of the original.
      if (statement !== undefined) {
        if ((await countSignature(tx, keyFingerprint, statement.counter)) === 0) return false
      }
      const used = key === undefined ? undefined : touchKey(tx, keyFingerprint)
      await Promise.all([used, appendLastEvent(tx, event)])
      return true
    })
    if (!counted) {
      this.#failed(tenant, attempt, source, 'counter')
      return undefined
    }
    return {
      tenant,
      tenantSlug,
      user,
      keyFingerprint,
      ...(certificate === undefined ? {} : { certificate }),
    }
  }

  /** The user of a certificate that is valid here and now. */
  async #certified(
    tx: ReadTx,
    tenant: TenantId,
    proof: Proof | undefined,
    source: string,
  ): Promise<Found | { readonly problem: string }> {
    const certificate = proof?.certificate
    const { authorities, revocations } = await this.#certificates.trust(tx, tenant, certificate)
    if (certificate === undefined) return { problem: 'bad-signature' }
    const [principal = '', ...others] = certificate.principals
    const checked = checkCertificate(certificate, {
      authorities: authorities.map(({ publicKey }) => publicKey),
      kind: 'user',
      principal,
      now: new Date(),
      sourceAddress: source,
      revocations,
      knownOptions: ['force-command', 'source-address', 'verify-required'],
    })
    const authority = authorities.find(({ publicKey }) =>
      publicKey.equals(certificate.signatureKey),
    )
    if ('problem' in checked || authority === undefined) {
      const problem = 'problem' in checked ? checked.problem : 'no authority'
      this.#log.info({ problem }, 'a certificate was refused')
      return { problem: 'certificate' }
    }
    const id = others.length === 0 ? this.#certificates.userOf(principal) : undefined
    const person = id === undefined ? undefined : await findPerson(tx, id)
    if (person === undefined) return { problem: 'unknown-key' }
    const { forceCommand, extensions, requireTouch, requireUserVerification } = checked.restrictions
    const { userPresent = false, userVerified = false } = proof?.statement ?? {}
    if (requireTouch && !userPresent) return { problem: 'not-touched' }
    if (requireUserVerification && !userVerified) return { problem: 'not-verified' }
    return {
      ...person,
      certificate: {
        generation: authority.generation,
        serial: certificate.serial.toString(),
        keyId: certificate.keyId,
        expiresAt: new Date(Number(certificate.validBefore) * 1000).toISOString(),
        permits: [...extensions],
        ...(forceCommand === undefined ? {} : { forceCommand }),
      },
    }
  }

  /** Not awaited: the time of an append would tell a stranger which tenants there are. */
  #failed(tenant: TenantId, { key, algorithm }: AuthAttempt, source: string, code: string): void {
    const pending = this.#pending.get(tenant) ?? 0
    if (pending >= pendingMax) return this.#failures.hold(tenant)
    const held = this.#failures.take(tenant, source)
    if (held === undefined) return
    this.#pending.set(tenant, pending + 1)
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
      .catch((err: unknown) => {
        this.#failures.hold(tenant, held + 1)
        this.#log.error({ err, tenant }, 'a failed login is not on the log')
      })
      .finally(() => {
        const left = (this.#pending.get(tenant) ?? 1) - 1
        if (left === 0) this.#pending.delete(tenant)
        else this.#pending.set(tenant, left)
      })
  }

  async #append(tenant: TenantId, event: AuditEvent): Promise<void> {
    await this.#database.write(tenant, (tx) => appendLastEvent(tx, event))
  }
}

/** The user of a registered key. It is looked up even when the signature is wrong. */
async function findRegistered(
  tx: ReadTx,
  proof: Proof | undefined,
  key: Buffer,
): Promise<Found | { readonly problem: string }> {
  const holder = await findHolder(tx, key)
  if (holder === undefined) return { problem: 'unknown-key' }
  const { id, name, role, tenantSlug, verifyRequired } = holder
  const statement = proof?.statement
  if (statement !== undefined) {
    if (!statement.userPresent) return { problem: 'not-touched' }
    if (verifyRequired && !statement.userVerified) return { problem: 'not-verified' }
  }
  return { id, name, role, tenantSlug, key: taggedRow(holder) }
}
