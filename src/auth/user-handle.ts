import { parseTenantId, type TenantId } from '../postgres/index.ts'

/**
 * The user's id that a passkey keeps: 16 bytes of the tenant's, 16 of the user's. It says where to look the
 * passkey up before anybody is known; what is found there decides.
 */
export function encodeUserHandle(tenant: TenantId, user: string): Buffer {
  return Buffer.from(`${tenant}${user}`.replaceAll('-', ''), 'hex')
}

export function decodeUserHandle(
  text: string | undefined,
): { readonly tenant: TenantId; readonly user: string } | undefined {
  const hex = Buffer.from(text ?? '', 'base64url').toString('hex')
  if (hex.length !== 64) return undefined
  const tenant = parseTenantId(dashed(hex.slice(0, 32)))
  return tenant === undefined ? undefined : { tenant, user: dashed(hex.slice(32)) }
}

function dashed(hex: string): string {
  return [8, 12, 16, 20, 32].map((to, at) => hex.slice([0, 8, 12, 16, 20][at], to)).join('-')
}
