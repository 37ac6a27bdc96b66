import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, expect, test } from 'vitest'

/** What the build makes, and what a start does without it. */
const root = resolve(import.meta.dirname, '../..')
const dist = join(root, 'web/dist')

interface Chunk {
  readonly file: string
  readonly imports?: readonly string[]
  readonly css?: readonly string[]
  readonly isEntry?: boolean
  readonly name?: string
}
const manifest: Record<string, Chunk> = JSON.parse(
  readFileSync(join(dist, 'manifest.json'), 'utf8'),
)

function loadedWith(chunk: Chunk): readonly string[] {
  const imported = (chunk.imports ?? []).flatMap((name) => {
    const one = manifest[name]
    return one === undefined ? [] : loadedWith(one)
  })
  return [...new Set([chunk.file, ...(chunk.css ?? []), ...imported])]
}

const entries = Object.values(manifest).filter(({ isEntry }) => isEntry)
test.each(entries)('the first load of $name is less than 100 kB, compressed', (entry) => {
  const files = [
    ...loadedWith(entry).map((file) => join(dist, file)),
    join(root, 'web/shared/style.css'),
  ]
  const bytes = files.reduce((sum, file) => sum + gzipSync(readFileSync(file)).length, 0)
  expect(bytes).toBeGreaterThan(10_000)
  expect(bytes).toBeLessThan(100_000)
})

test('the built files name no other host, and no path of the machine that built them', () => {
  for (const name of readdirSync(join(dist, 'assets'))) {
    const text = readFileSync(join(dist, 'assets', name), 'utf8')
    expect(text, name).not.toContain(root)
    const hosts = [...text.matchAll(/(?:fetch|import|src=|url)\(?["'`](https?:)?\/\/[\w.]+/g)]
    expect(
      hosts.map(([found]) => found),
      name,
    ).toEqual([])
    expect(name).toMatch(/-[\w-]{8,}\.(js|css)$/)
  }
})

let copy: string
beforeEach(() => {
  copy = mkdtempSync(join(tmpdir(), 'pages-'))
  chmodSync(copy, 0o755)
})
afterEach(() => rmSync(copy, { recursive: true, force: true }))

/** The checkout's sources with its packages, and a program that builds the pages as the set-up does. */
function copySources(): void {
  for (const name of ['bin', 'web', 'package.json', 'package-lock.json', 'tsconfig.json'])
    cpSync(join(root, name), join(copy, name), {
      recursive: true,
      filter: (path) => !path.startsWith(dist),
    })
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'))
  writeFileSync(
    join(copy, 'build.mjs'),
    `import { buildPages, havePages, mayBuildPages } from './bin/setup/pages.mjs'
     const pages = { root: ${JSON.stringify(copy)}, state: ${JSON.stringify(join(copy, 'state'))}, node: { path: process.execPath } }
     const had = havePages(pages)
     const done = !had && mayBuildPages(pages) ? await buildPages(pages) : undefined
     console.log(JSON.stringify({ had, done }))
     process.exit()`,
  )
}

function build() {
  // Without a network: no name resolves, and no proxy answers.
  const env = { PATH: process.env.PATH, HTTP_PROXY: 'http://127.0.0.1:1', HOME: copy }
  const { stdout, stderr } = spawnSync(process.execPath, ['build.mjs'], {
    cwd: copy,
    encoding: 'utf8',
    env,
  })
  return { ...JSON.parse(stdout || '{}'), stderr }
}

test('the set-up builds when the sources changed, and not otherwise', () => {
  copySources()
  expect(build()).toMatchObject({ had: false, done: true })
  expect(build()).toMatchObject({ had: true, stderr: '' })
  const texts = join(copy, 'web/portal/home-texts.ts')
  writeFileSync(texts, readFileSync(texts, 'utf8').replace('What can I open?', 'Changed'))
  expect(build()).toMatchObject({ had: false, done: true })
  const assets = join(copy, 'web/dist/assets')
  const home = readdirSync(assets).find((name) => name.startsWith('home-')) ?? ''
  expect(readFileSync(join(assets, home), 'utf8')).toContain('Changed')
})

test('a build that fails says where to read why, keeps the last pages, and is not tried again', () => {
  copySources()
  build()
  writeFileSync(join(copy, 'web/portal/home.tsx'), 'this is no program (')
  const failed = build()
  expect(failed).toMatchObject({ had: false, done: false })
  expect(failed.stderr).toMatch(/pages were not built: read .*pages\.log.*SSH/)
  expect(readFileSync(join(copy, 'state/pages.log'), 'utf8')).toContain('home.tsx')
  expect(existsSync(join(copy, 'web/dist/manifest.json'))).toBe(true)
  expect(build()).toMatchObject({ had: true, stderr: '' })
})
