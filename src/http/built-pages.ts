import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { errorCode } from '../errors.ts'
import type { Asset } from './assets.ts'

/** What a page's head names: its module, and what that imports. */
export interface PageFiles {
  readonly script: string
  readonly preloads: readonly string[]
  readonly styles: readonly string[]
}

export interface BuiltPages {
  /** Every file of the build, for anybody: they hold no data. */
  readonly assets: readonly Asset[]
  /** Throws if the build has no such page. */
  page(name: string): PageFiles
}

const chunk = z.object({
  file: z.string(),
  name: z.string().optional(),
  isEntry: z.boolean().default(false),
  imports: z.array(z.string()).default([]),
  css: z.array(z.string()).default([]),
  assets: z.array(z.string()).default([]),
})
const manifestShape = z.record(z.string(), chunk)
type Manifest = z.output<typeof manifestShape>

/** The pages that the set-up built; undefined if it did not. Throws if they are not whole. */
export async function readBuiltPages(directory: URL): Promise<BuiltPages | undefined> {
  const manifest = await readManifest(new URL('manifest.json', directory))
  if (manifest === undefined) return undefined
  const chunks = Object.values(manifest)
  const files = chunks.flatMap(({ file, css, assets }) => [file, ...css, ...assets])
  return {
    assets: [...new Set(files)].map((file) => ({
      path: assetPath(file),
      file: new URL(file, directory),
    })),
    page(name) {
      const entry = chunks.find((one) => one.isEntry && one.name === name)
      if (entry === undefined) throw new Error(`the build has no page ${name}`)
      const imported = importedBy(entry, manifest)
      return {
        script: assetPath(entry.file),
        preloads: imported.map(({ file }) => assetPath(file)),
        styles: [entry, ...imported].flatMap(({ css }) => css.map(assetPath)),
      }
    },
  }
}

async function readManifest(file: URL): Promise<Manifest | undefined> {
  try {
    return manifestShape.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (err) {
    if (errorCode(err) === 'ENOENT') return undefined
    throw err
  }
}

function assetPath(file: string): `/assets/${string}` {
  if (!/^assets\/[\w.-]+$/.test(file)) throw new Error(`${file} is no name of a built file`)
  return `/${file as `assets/${string}`}`
}

/** All chunks that are loaded with one, each once. */
function importedBy(
  { imports }: Manifest[string],
  manifest: Manifest,
  found = new Map<string, Manifest[string]>(),
): readonly Manifest[string][] {
  for (const name of imports) {
    const one = manifest[name]
    if (one === undefined || found.has(name)) continue
    found.set(name, one)
    importedBy(one, manifest, found)
  }
  return [...found.values()]
}
