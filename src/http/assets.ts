import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import { forAnybody } from './rights.ts'

/** One public file: its address here, and its path. */
export interface Asset {
  /** Its name ends with a digest of its bytes, so that what a browser has of it stays true. */
  readonly path: `/assets/${string}`
  readonly file: URL
}

/** A served file, in memory, in each form that it may be sent in. */
interface Loaded {
  readonly path: string
  readonly type: string
  readonly etag: string
  readonly forms: readonly Form[]
}

interface Form {
  /** undefined: as it is. */
  readonly encoding: 'br' | 'gzip' | undefined
  readonly bytes: Buffer
}

const types: { readonly [ending: string]: string } = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
  wasm: 'application/wasm',
}

/**
 * Reads the files once, so that a missing one stops the start and no request names a path. They are
 * compressed once, so that a request costs a copy of fewer bytes and no work.
 */
export async function readAssets(assets: readonly Asset[]): Promise<readonly Loaded[]> {
  return Promise.all(
    assets.map(async ({ path, file }) => {
      const type = types[path.slice(path.lastIndexOf('.') + 1)]
      if (type === undefined) throw new Error(`no content type is known for ${path}`)
      const bytes = await readFile(file)
      const etag = `"${createHash('sha256').update(bytes).digest('hex')}"`
      return { path, type, etag, forms: await formsOf(bytes) }
    }),
  )
}

/** Half of what better levels take off is not worth the seconds that they cost at each start. */
const brotliOptions = { params: { [constants.BROTLI_PARAM_QUALITY]: 6 } }

/** The smallest first. Browsers take brotli on https only. */
async function formsOf(bytes: Buffer): Promise<readonly Form[]> {
  return [
    { encoding: 'br', bytes: await promisify(brotliCompress)(bytes, brotliOptions) },
    { encoding: 'gzip', bytes: await promisify(gzip)(bytes) },
    { encoding: undefined, bytes },
  ]
}

/** One route a file: other files cannot be reached. */
export function serveAssets(app: FastifyInstance, assets: readonly Loaded[]): void {
  for (const { path, type, etag, forms } of assets) {
    app.get(path, forAnybody, async (request, reply) => {
      reply.headers({
        etag,
        vary: 'accept-encoding',
        'cache-control': 'public, max-age=31536000, immutable',
      })
      if (request.headers['if-none-match'] === etag) return reply.code(304).send()
      const form = formFor(request.headers['accept-encoding'], forms)
      if (form?.encoding !== undefined) reply.header('content-encoding', form.encoding)
      return reply.type(type).send(form?.bytes)
    })
  }
}

/** Whether a form is wanted is told by its name alone: no browser gives it a weight of 0. */
function formFor(accepted: string | undefined, forms: readonly Form[]): Form | undefined {
  const names = (accepted ?? '').split(',').map((name) => name.split(';')[0]?.trim())
  return forms.find(({ encoding }) => encoding === undefined || names.includes(encoding))
}
