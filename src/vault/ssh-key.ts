import type { TenantId } from '../postgres/index.ts'

/** The two key pairs of a tenant: the platform's for administration, and the customer's own. */
export type SshKeyName = 'admin_ssh' | 'tenant_ssh'

export const sshKeyNames: readonly SshKeyName[] = ['admin_ssh', 'tenant_ssh']

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

export const rotationPolicy = '90_days'

/** Where a tenant's key pair stands in the tree of secrets. */
export function sshKeyPath(tenant: TenantId, name: SshKeyName): string {
  return `vps/${tenant}/${name}`
}

/** What follows the key in `authorized_keys`, so that whoever finds it there knows whose it is. */
export function sshKeyComment(tenant: TenantId, name: SshKeyName): string {
  return `vaultterm-${name}-${tenant.slice(0, 8)}`
}
