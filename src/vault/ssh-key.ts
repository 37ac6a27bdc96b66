import type { Database, TenantId } from '../postgres/index.ts'
import { formatPublicKey, type PublicKey, parsePublicKey } from '../ssh/index.ts'
import { KeyMissing, SecretDamaged } from './errors.ts'
import { generateRsaKeyPair, rsaBlob } from './key-pair.ts'
import { findNewestSecret } from './queries.ts'
import type { SecretStore } from './secrets.ts'

/** The two key pairs of a tenant: the platform's for administration, and the customer's own. */
export type SshKeyName = 'admin_ssh' | 'tenant_ssh'

const sshKeyNames: readonly SshKeyName[] = ['admin_ssh', 'tenant_ssh']

/** The fields of a key pair that may be known, under the names of the tree `vps/{tenant_id}/…`. */
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

/** What follows the key in `authorized_keys`, so that whoever finds it there knows whose it is. */
function sshKeyComment(tenant: TenantId, name: SshKeyName): string {
  return `vaultterm-${name}-${tenant.slice(0, 8)}`
}

/** The key pairs of tenants with which the bastion logs in to targets. */
export class SshKeys {
  readonly #database: Database
  readonly #secrets: SecretStore

  constructor(database: Database, secrets: SecretStore) {
    this.#database = database
    this.#secrets = secrets
  }

  async create(tenant: TenantId): Promise<void> {
    await this.#secrets.create(
      tenant,
      sshKeyNames.map((name) => ({
        name,
        algorithm: 'ssh-rsa',
        path: sshKeyPath(tenant, name),
        rotationPolicy,
        generate: async () => {
          const pair = await generateRsaKeyPair()
          const key = { type: 'ssh-rsa', blob: rsaBlob(pair.publicKey) }
          const publicKey = formatPublicKey(key, sshKeyComment(tenant, name))
          const { fingerprint } = readPublicKey(publicKey, name)
          return { privateKey: pair.privateKey, publicKey, fingerprint }
        },
      })),
    )
  }

  async describe(tenant: TenantId, name: SshKeyName): Promise<SshKeyDescription> {
    const path = sshKeyPath(tenant, name)
    const row = await this.#database.read(tenant, (tx) => findNewestSecret(tx, path))
    if (row === undefined) throw new KeyMissing(name)
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

/** The public half is not sealed, so what it says is checked again against what signs. */
export function readPublicKey(line: string, name: string): PublicKey {
  const parsed = parsePublicKey(line)
  if ('problem' in parsed) throw new SecretDamaged(name, new Error(parsed.problem))
  return parsed.key
}
