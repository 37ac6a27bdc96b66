/**
 * HTTP for this product: a Fastify server with our limits, headers and replies, and the parts of
 * pages.
 *
 * It knows no routes. Every reply, a refusal and a file among them, carries the strict headers; every
 * error is the contract's object or, for a browser, a page that says as much.
 */

export { type Asset, readAssets, serveAssets } from './assets.ts'
export { type BuiltPages, type PageFiles, readBuiltPages } from './built-pages.ts'
export { type CheckReport, type Checks, runChecks, shareChecks } from './checks.ts'
export type { StartLimits } from './entrance.ts'
export { RouteMissing, SignInRequired, TooOften } from './errors.ts'
export { allowPlayer } from './headers.ts'
export { type Html, html } from './html.ts'
export { cell, listRow, listTable } from './list-table.ts'
export { lookAssets } from './look.ts'
export { describeRoutes } from './openapi.ts'
export { type Page, page } from './page.ts'
export { cursorOf, cutPage, pageOf, pagingBy } from './paging.ts'
export { type Rate, RateLimit } from './rate-limit.ts'
export { forAnybody, type RightfulRoute, type RouteRight } from './rights.ts'
export { type Download, type Once, type Route, type RouteCall, routesFor } from './route.ts'
export { serveOpenRoutes, serveRoutes } from './serve-routes.ts'
export { createHttp, type HttpOptions } from './server.ts'
export {
  createSignIn,
  type SignIn,
  type SignInOptions,
  type WebSessions,
} from './sign-in.ts'
export { text } from './text.ts'
export type { Visitor } from './visitor.ts'
