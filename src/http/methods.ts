import type { RightfulRoute } from './rights.ts'

/**
 * The methods of the routes that have this path. A path with parameters has any text in their places.
 */
export function methodsAt(routes: readonly RightfulRoute[], path: string): readonly string[] {
  const parts = path.split('/')
  const here = routes.filter((route) => isAt(route.path.split('/'), parts))
  return [...new Set(here.map(({ method }) => method))]
}

function isAt(pattern: readonly string[], parts: readonly string[]): boolean {
  return (
    pattern.length === parts.length &&
    pattern.every((part, at) => (part.startsWith(':') ? parts[at] !== '' : part === parts[at]))
  )
}
