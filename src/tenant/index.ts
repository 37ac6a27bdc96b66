/** Whose everything is: tenants, found by name before anybody is known. */

export { TenantExists, TenantMissing, TenantNameInvalid } from './errors.ts'
export { createTenants, type Tenant, type TenantEntry, type Tenants } from './tenants.ts'
