/** Which customer organisation. Its only maker is parseTenantId, so it is always a UUID. */
export type TenantId = string & { readonly brand: 'TenantId' }

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Reads an id as text from outside; undefined when it is not one. */
export function parseTenantId(text: string): TenantId | undefined {
  return isTenantId(text) ? text : undefined
}

export function isTenantId(text: string): text is TenantId {
  return uuid.test(text)
}

/**
 * Owns the platform's own data, which belongs to no customer: its audit log, its checkpoint key.
 *
 * It has a row, so that all owned data has an owner; the roles that find tenants by name do not see
 * it.
 */
export const systemTenant: TenantId = nil()

function nil(): TenantId {
  const id = parseTenantId('00000000-0000-0000-0000-000000000000')
  if (id === undefined) throw new Error('the nil UUID is a UUID')
  return id
}
