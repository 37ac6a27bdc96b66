import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Asset } from './assets.ts'

/**
 * The look of every page, also of those that need no build: the stylesheet and the icon, each under a name
 * with a digest of its bytes.
 */
export const look = { style: named('style', 'css'), icon: named('icon', 'svg') }

export const lookAssets: readonly Asset[] = Object.values(look)

function named(name: string, ending: string): Asset {
  const file = new URL(`../../web/shared/${name}.${ending}`, import.meta.url)
  const digest = createHash('sha256').update(readFileSync(file)).digest('hex').slice(0, 12)
  return { path: `/assets/${name}-${digest}.${ending}`, file }
}
