import type { TenantId } from '../postgres/index.ts'
import { fingerprint, formatPublicKey, type PublicKey, parsePublicKey } from '../ssh/index.ts'
import { KeyMissing, SecretDamaged } from './errors.ts'
import { generateRsaKeyPair } from './key-pair.ts'
import { ReadOnce } from './read-once.ts'
import type { SecretSpec, SecretStore } from './secrets.ts'

/** The two key pairs of a tenant: the platform's for administration, and the customer's own. */
export type SshKeyName = 'admin_ssh' | 'tenant_ssh'

const sshKeyNames: readonly SshKeyName[] = ['admin_ssh', 'tenant_ssh']

/** The public fields of a key pair, under the names of the tree `vps/{tenant_id}/…`. */
export interface SshKeyDescription {
  /** OpenSSH form, one line. */
  readonly publicKey: string
  readonly fingerprint: string
  /** ISO 8601. */
  readonly createdAt: string
  /** ISO 8601. */
  readonly lastRotated: string
  readonly rotationPolicy: string
  readonly version: number
}

const rotationPolicy = '90_days'

/** Where a tenant's key pair stands in the tree of secrets. */
export function sshKeyPath(tenant: TenantId, name: SshKeyName): string {
  return `vps/${tenant}/${name}`
}

/** The comment behind the key in `authorized_keys`: it tells an administrator whose key it is. */
function sshKeyComment(tenant: TenantId, name: SshKeyName): string {
  return `vaultterm-${name}-${tenant.slice(0, 8)}`
}

/** The key pairs of tenants with which the bastion logs in to targets. */
export class SshKeys {
  readonly #secrets: SecretStore

  constructor(secrets: SecretStore) {
    this.#secrets = secrets
  }

  async create(tenant: TenantId): Promise<void> {
    await this.#secrets.create(
      tenant,
      sshKeyNames.map((name) => specOf(tenant, name)),
    )
  }

  /** Throws RecordChanged, KeyMissing, VaultSealed. */
  async describe(tenant: TenantId, name: SshKeyName): Promise<SshKeyDescription> {
    const spec = specOf(tenant, name)
    const row = await this.#secrets.find(tenant, spec.path)
    if (row === undefined) throw new KeyMissing(name)
    await this.#secrets.requirePublicKey(tenant, spec, row)
    return {
      publicKey: row.publicKey,
      fingerprint: readPublicKey(row.publicKey, name).fingerprint,
      createdAt: row.createdAt.toISOString(),
      lastRotated: row.lastRotated.toISOString(),
      rotationPolicy: row.rotationPolicy,
      version: row.version,
    }
  }
}

function specOf(tenant: TenantId, name: SshKeyName): SecretSpec {
  return {
    name,
    algorithm: 'ssh-rsa',
    path: sshKeyPath(tenant, name),
    rotationPolicy,
    generate: generateRsaKeyPair,
    parse: sshBlobIn,
    describe: (blob) => {
      const line = formatPublicKey({ type: 'ssh-rsa', blob }, sshKeyComment(tenant, name))
      return { publicKey: line, fingerprint: fingerprint(blob) }
    },
  }
}

const lines = new ReadOnce(parsePublicKey)

/**
 * A signature is compared with this key before it leaves the vault, because the line itself proves
 * nothing.
 */
export function readPublicKey(line: string, name: string): PublicKey {
  const parsed = lines.of(line)
  if ('problem' in parsed) throw new SecretDamaged(name, new Error(parsed.problem))
  return parsed.key
}

/** The key in a line, as on the wire; undefined if the line is not a key. */
export function sshBlobIn(line: string): Buffer | undefined {
  const parsed = parsePublicKey(line)
  return 'problem' in parsed ? undefined : parsed.key.blob
}
