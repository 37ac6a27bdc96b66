import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'
import { forAnybody } from './rights.ts'

/** One public file: its address here, and its path. */
export interface Asset {
  readonly path: `/assets/${string}`
  readonly file: URL
}

/** A served file, in memory. */
interface Loaded {
  readonly path: string
  readonly type: string
  readonly bytes: Buffer
  readonly etag: string
}

const types: { readonly [ending: string]: string } = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
}

/** Reads the files once, so that a missing one stops the start and no request names a path. */
export async function readAssets(assets: readonly Asset[]): Promise<readonly Loaded[]> {
  return Promise.all(
    assets.map(async ({ path, file }) => {
      const type = types[path.slice(path.lastIndexOf('.') + 1)]
      if (type === undefined) throw new Error(`no content type is known for ${path}`)
      const bytes = await readFile(file)
      return { path, type, bytes, etag: `"${createHash('sha256').update(bytes).digest('hex')}"` }
    }),
  )
}

/** One route a file: other files cannot be reached. */
export function serveAssets(app: FastifyInstance, assets: readonly Loaded[]): void {
  for (const { path, type, bytes, etag } of assets) {
    app.get(path, forAnybody, async (request, reply) => {
      reply.headers({ etag, 'cache-control': 'public, no-cache' })
      if (request.headers['if-none-match'] === etag) return reply.code(304).send()
      return reply.type(type).send(bytes)
    })
  }
}
