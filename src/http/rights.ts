import type { FastifyInstance } from 'fastify'

/**
 * The right that a route asks for: none (`anybody`), a live web session (`signed-in`), or a named
 * right, which the module with the rights checks.
 */
export type RouteRight = string

/** One route of a listener, and its right. */
export interface RightfulRoute {
  readonly method: string
  /** As registered, with its parameters: `/sessions/:id`. */
  readonly path: string
  readonly right: RouteRight
}

declare module 'fastify' {
  interface FastifyContextConfig {
    right?: RouteRight
  }
  interface FastifyInstance {
    /** Every route of this listener, in the order of registration. */
    readonly routeRights: readonly RightfulRoute[]
  }
}

/** Options of a route that needs no person. */
export const forAnybody = { config: { right: 'anybody' } } as const

/** From here on a route without a right stops the start. */
export function requireRights(app: FastifyInstance): void {
  const rights: RightfulRoute[] = []
  app.decorate('routeRights', rights)
  app.addHook('onRoute', ({ method, url, config }) => {
    const right = config?.right
    if (right === undefined)
      throw new Error(`route ${url} has no right: declare which roles may call it`)
    for (const one of [method].flat()) rights.push({ method: one, path: url, right })
  })
}
