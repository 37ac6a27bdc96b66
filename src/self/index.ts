/**
 * The API of people about themselves: how they sign in, prove freshly that it is them, and where they are
 * signed in. The portal and the admin plane have the same routes, each for its own people.
 */

export { callerOf } from './caller.ts'
export { certificateRoutes, type OwnCertificates } from './certificate-routes.ts'
export { keyRoutes } from './key-routes.ts'
export { passkeyRoutes } from './passkey-routes.ts'
export type { SelfDeps } from './self-deps.ts'
export { signInRoutes } from './sign-in-routes.ts'
export { stepUpRoutes } from './step-up-routes.ts'
export { webSessionRoutes } from './web-session-routes.ts'
