/** The product listener: health, metrics, the API, and the pages of people who are signed in. */

export { createPortal, type PortalDeps } from './portal.ts'
