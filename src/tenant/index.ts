/** Tenants: the owners of all data, found by name before a user is known. */

export { TenantExists, TenantMissing, TenantNameInvalid } from './errors.ts'
export { createTenants, type Tenant, type TenantEntry, type Tenants } from './tenants.ts'
