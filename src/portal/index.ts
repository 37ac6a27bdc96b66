/** The product listener: health, metrics, the API, and the pages for signed-in users. */

export type { PortalRoute } from './portal.ts'
export { createPortal, type PortalDeps } from './portal.ts'
