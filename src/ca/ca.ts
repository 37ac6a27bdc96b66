import type { Metrics } from '../metrics.ts'
import type { Database, ReadTx, TenantId, WriteTx } from '../postgres/index.ts'
import {
  type Certificate,
  type CertificateKind,
  fingerprint,
  matchesAddressList,
  parsePublicKeyBlob,
} from '../ssh/index.ts'
import type { KeyLease, Vault } from '../vault/index.ts'
import { Authorities, requireAuthentic } from './authority.ts'
import { CertificateRefused, EgressInvalid } from './errors.ts'
import type { Authority } from './generation.ts'
import { type IssuedCertificate, Issuer } from './issuer.ts'
import { caMetrics } from './metrics.ts'
import { targetPrincipal, userPrincipal } from './principal.ts'
import {
  countUserCertificates,
  findRegistered,
  isRevokedKey,
  listAuthorities,
  listUserCertificates,
  type UserCertificateRow,
} from './queries.ts'
import { type Revocation, revoke, revokeSerial } from './revocation.ts'
import { Serials } from './serials.ts'
import { encodeRevocations, type Trust, trust } from './trust.ts'

/** A certificate for a user's own key, to log in to the bastion with. */
interface UserCertificateOrder {
  readonly user: { readonly id: string; readonly name: string }
  /** As on the wire. */
  readonly publicKey: Buffer
  readonly ttlSeconds: number
  readonly forceCommand?: string
  /** As in OpenSSH: addresses and CIDR blocks, with commas. */
  readonly sourceAddress?: string
}

/** A certificate for the host key of a target. */
interface HostCertificateOrder {
  readonly target: { readonly id: string; readonly name: string }
  readonly publicKey: Buffer
  /** Under which it is dialled. */
  readonly names: readonly string[]
  readonly ttlSeconds: number
  /** For the bastion's own key, which people see in the target's place. It proves no target. */
  readonly standsIn?: boolean
}

/** A login to a target, which access has allowed. */
interface UpstreamCertificateOrder {
  readonly session: string
  readonly target: string
  readonly login: string
  readonly user?: string
  /** The `permit-…` extensions that the grant gives. */
  readonly permits: readonly string[]
  readonly forceCommand?: string
  readonly expiresInMs: number
  readonly hostKey?: Buffer
  /** With next, the login shows whether the target trusts the authority that signs after a rotation. */
  readonly authority?: 'active' | 'next'
}

/** The actor of an act, as keys that every event may have. */
type By = { readonly [key: string]: string }
/** The same, and the parts of it that can be erased. */
interface ByWhom {
  readonly public: By
  readonly private: { readonly [key: string]: string | undefined }
}

export interface Ca {
  /** The trusted authorities, oldest first; made on first use. Throws RecordChanged. */
  authorities(tenant: TenantId, kind: CertificateKind): Promise<readonly Authority[]>
  /** Activates the next generation, and makes another next one. */
  rotate(tenant: TenantId, kind: CertificateKind, by: By): Promise<readonly Authority[]>
  /** Throws CertificateRefused. */
  issueUser(tenant: TenantId, order: UserCertificateOrder, by: ByWhom): Promise<IssuedCertificate>
  /** Throws CertificateRefused. */
  issueHost(tenant: TenantId, order: HostCertificateOrder, by: By): Promise<IssuedCertificate>
  /** A key for one login to a target, with a certificate that is valid for two minutes. */
  leaseUpstream(tenant: TenantId, order: UpstreamCertificateOrder): Promise<KeyLease>
  /** False when it was revoked before. Throws RevocationInvalid. */
  revoke(tenant: TenantId, kind: CertificateKind, revocation: Revocation, by: By): Promise<boolean>
  /** The user's own that are valid now, the last one first. */
  certificatesOf(tenant: TenantId, user: string): Promise<readonly OwnCertificate[]>
  /** False if the user has no such certificate that is valid now. */
  revokeOwn(tenant: TenantId, user: string, id: string, by: By): Promise<boolean>
  /**
   * For a key of a user's that is taken away, or is to end: its certificates that would be valid then are
   * revoked. In the caller's transaction.
   */
  revokeOfKey(
    tx: WriteTx,
    key: { readonly user: string; readonly fingerprint: string; readonly end?: Date | undefined },
    by: By,
  ): Promise<void>
  /** Whether a key was revoked, with all certificates that it has. */
  isRevokedKey(tx: ReadTx, fingerprint: string): Promise<boolean>
  /** A KRL, as `RevokedKeys` of sshd takes it. Throws RecordChanged. */
  revocationList(tenant: TenantId, kind: CertificateKind): Promise<Buffer>
  /**
   * The authorities and revocations that a certificate is checked against. An authority that the
   * vault did not make is not among them, and is reported.
   */
  trust(
    tx: ReadTx,
    tenant: TenantId,
    kind: CertificateKind,
    certificate: Certificate | undefined,
  ): Promise<Trust>
}

/** A certificate for a key of a user's own. Times are RFC 3339, UTC. */
export interface OwnCertificate {
  readonly id: string
  /** Decimal. */
  readonly serial: string
  /** Of the key. */
  readonly fingerprint: string
  readonly issuedAt: string
  readonly expiresAt: string
}

interface CaDeps {
  readonly database: Database
  readonly vault: Pick<
    Vault,
    'createAuthorityKey' | 'isAuthorityKey' | 'signCertificate' | 'leaseEphemeral'
  >
  /** The source of our connections, as targets see it: addresses and CIDR blocks, with commas. */
  readonly egress: string | undefined
  readonly metrics: Metrics
}

const userTtlSecondsMax = 24 * 3600
const userTtlSecondsMin = 60
/** Of one user, revoked or not, until they end: a key that is removed takes its own with it at once. */
const userCertificatesMax = 1000
const hostTtlSecondsMax = 90 * 24 * 3600
/** Of a forced command, or of source addresses: a certificate is no longer than 64 KiB. */
const optionBytesMax = 16_384
/** Clocks differ. */
const skewSeconds = 30
/** The login must be done within it; the session may be longer. */
const upstreamSeconds = 90
const userPermits = [
  'permit-X11-forwarding',
  'permit-agent-forwarding',
  'permit-port-forwarding',
  'permit-pty',
]

const hostMark = 'h='
const standInMark = 'j='

/**
 * Whether a certificate is for the bastion's own key in the place of a target. People who dial the
 * target's name accept it. The bastion does not: its own key must prove no target.
 */
export function isStandIn({ keyId }: Pick<Certificate, 'keyId'>): boolean {
  return keyId.includes(` ${standInMark}`)
}

export function createCa({ database, vault, egress, metrics: registry }: CaDeps): Ca {
  if (egress !== undefined && matchesAddressList(egress, '192.0.2.1') === undefined) {
    throw new EgressInvalid(egress)
  }
  const authorities = new Authorities(database, vault)
  const issuer = new Issuer(vault, authorities, new Serials(database), caMetrics(registry))

  async function issueUser(tenant: TenantId, order: UserCertificateOrder, by: ByWhom) {
    const { user, publicKey, ttlSeconds, forceCommand, sourceAddress } = order
    requireKey(publicKey)
    if (
      !Number.isInteger(ttlSeconds) ||
      ttlSeconds < userTtlSecondsMin ||
      ttlSeconds > userTtlSecondsMax
    ) {
      throw new CertificateRefused('a user certificate is valid for 1 minute to 24 hours')
    }
    requireRestrictions(order)
    const life = lifeOf(ttlSeconds)
    await requireGoodKey(tenant, order, life.validBefore)
    return issuer.issue(tenant, 'user', 'active', {
      holder: user.id,
      certificate: {
        publicKey,
        keyId: `t=${tenant.slice(0, 8)} u=${user.id}`,
        principals: [userPrincipal(user.id)],
        ...life,
        criticalOptions: options({
          'force-command': forceCommand,
          'source-address': sourceAddress,
        }),
        extensions: new Map(userPermits.map((name) => [name, ''])),
      },
      event: {
        public: { purpose: 'login', user: user.id, ...by.public },
        private: { userName: user.name, sourceAddress, ...by.private },
      },
    })
  }

  /** Throws CertificateRefused for a key that was revoked, or that is registered for less. */
  async function requireGoodKey(
    tenant: TenantId,
    { user, publicKey }: UserCertificateOrder,
    validBefore: bigint,
  ) {
    const key = fingerprint(publicKey)
    const { isRevoked, registered, count } = await database.read(tenant, async (tx) => ({
      count: await countUserCertificates(tx, user.id),
      isRevoked: await isRevokedKey(tx, key),
      registered: await findRegistered(tx, user.id, key),
    }))
    if (isRevoked) throw new CertificateRefused('this key was revoked: use another one')
    if (count >= userCertificatesMax) {
      throw new CertificateRefused(
        `${user.name} has ${userCertificatesMax} certificates that have not ended: wait, or ask for fewer`,
      )
    }
    if (registered?.verifyRequired === true) {
      throw new CertificateRefused(
        'this key must verify its user at each login, and a certificate would not ask for it',
      )
    }
    const end = registered?.end ?? null
    if (end !== null && end.getTime() < Number(validBefore) * 1000) {
      throw new CertificateRefused(
        `this key ends at ${end.toISOString()}: no certificate for it may be valid longer`,
      )
    }
  }

  async function issueHost(tenant: TenantId, order: HostCertificateOrder, by: By) {
    const { target, publicKey, names, ttlSeconds, standsIn = false } = order
    requireKey(publicKey)
    if (!Number.isInteger(ttlSeconds) || ttlSeconds < 60 || ttlSeconds > hostTtlSecondsMax) {
      throw new CertificateRefused('a host certificate is valid for 1 minute to 90 days')
    }
    return issuer.issue(tenant, 'host', 'active', {
      certificate: {
        publicKey,
        keyId: `t=${tenant.slice(0, 8)} ${standsIn ? standInMark : hostMark}${target.id}`,
        principals: [...new Set(names.map((name) => name.toLowerCase()))],
        ...lifeOf(ttlSeconds),
        criticalOptions: new Map(),
        extensions: new Map(),
      },
      event: {
        public: { purpose: standsIn ? 'jump' : 'host', target: target.id, ...by },
        private: { targetName: target.name },
      },
    })
  }

  function leaseUpstream(tenant: TenantId, order: UpstreamCertificateOrder): Promise<KeyLease> {
    const { session, target, login, user, permits, forceCommand, expiresInMs, hostKey } = order
    const lease = {
      login,
      session,
      purpose: 'upstream',
      expiresInMs,
      ...(hostKey === undefined ? {} : { hostKey }),
    } as const
    return vault.leaseEphemeral(tenant, lease, async (publicKey) => {
      const issued = await issuer.issue(tenant, 'user', order.authority ?? 'active', {
        certificate: {
          publicKey,
          keyId: `t=${tenant.slice(0, 8)} s=${session}`,
          principals: [targetPrincipal(tenant, target, login)],
          ...lifeOf(upstreamSeconds),
          criticalOptions: options({ 'force-command': forceCommand, 'source-address': egress }),
          extensions: new Map(permits.map((name) => [name, ''])),
        },
        event: { public: { purpose: 'upstream', session, target, user }, private: { login } },
      })
      return issued.blob
    })
  }

  return {
    authorities: (tenant, kind) => authorities.list(tenant, kind),
    rotate: (tenant, kind, by) => authorities.rotate(tenant, kind, by),
    issueUser,
    issueHost,
    leaseUpstream,
    revoke: (tenant, kind, revocation, by) => revoke(database, tenant, kind, revocation, by),
    certificatesOf: (tenant, user) =>
      database.read(tenant, async (tx) => (await listUserCertificates(tx, user)).map(ownFrom)),
    revokeOwn: (tenant, user, id, by) =>
      database.write(tenant, async (tx) => {
        const row = (await listUserCertificates(tx, user)).find((one) => one.id === id)
        return row !== undefined && (await revokeSerial(tx, row, by))
      }),
    async revokeOfKey(tx, { user, fingerprint, end }, by) {
      for (const row of await listUserCertificates(tx, user)) {
        if (row.fingerprint !== fingerprint) continue
        if (end === undefined || row.expiresAt > end) await revokeSerial(tx, row, by)
      }
    },
    isRevokedKey,
    revocationList: (tenant, kind) =>
      database.read(tenant, async (tx) => {
        const rows = await listAuthorities(tx, kind)
        await requireAuthentic(vault, tx, tenant, rows)
        return encodeRevocations(tx, kind, rows)
      }),
    trust: (tx, tenant, kind, certificate) => trust(vault, tx, tenant, kind, certificate),
  }
}

function ownFrom({ id, serial, fingerprint, issuedAt, expiresAt }: UserCertificateRow) {
  return {
    ...{ id, serial, fingerprint },
    issuedAt: issuedAt.toISOString(),
    expiresAt: expiresAt.toISOString(),
  }
}

function requireKey(publicKey: Buffer): void {
  const parsed = parsePublicKeyBlob(publicKey)
  if ('problem' in parsed)
    throw new CertificateRefused(`this key cannot be certified: ${parsed.problem}`)
}

/** Throws CertificateRefused for those that no certificate can hold. */
function requireRestrictions({ forceCommand, sourceAddress }: UserCertificateOrder): void {
  if (forceCommand !== undefined && (!isOption(forceCommand) || forceCommand.trim() === '')) {
    throw new CertificateRefused(
      `a forced command is text of 1 to ${optionBytesMax} bytes, without zero bytes`,
    )
  }
  if (
    sourceAddress !== undefined &&
    (!isOption(sourceAddress) || matchesAddressList(sourceAddress, '192.0.2.1') === undefined)
  ) {
    throw new CertificateRefused(
      'write source addresses as a list separated by commas: 192.0.2.7,198.51.100.0/24',
    )
  }
}

/** U+FFFD stands for bytes that were no text, and its own bytes are others. */
function isOption(text: string): boolean {
  return Buffer.byteLength(text) <= optionBytesMax && !/[\0\ufffd]/.test(text)
}

function lifeOf(seconds: number): { readonly validAfter: bigint; readonly validBefore: bigint } {
  const now = Math.floor(Date.now() / 1000)
  return { validAfter: BigInt(now - skewSeconds), validBefore: BigInt(now + seconds) }
}

/** Those that have a value. */
function options(values: { readonly [name: string]: string | undefined }) {
  return new Map(
    Object.entries(values).flatMap(([name, value]): [string, string][] =>
      value === undefined ? [] : [[name, value]],
    ),
  )
}
