/** The admin plane: the platform's own pages and API, on a listener of their own. */

export { type AdminDeps, createAdmin } from './admin.ts'
