import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { afterAll, expect, test } from 'vitest'
import { readAssets, readBuiltPages, serveAssets } from '../../src/http/index.ts'
import { createTestHttp, host } from './http-fixture.ts'

/** Public files: sent in few bytes, asked for once. */
const directory = await mkdtemp(join(tmpdir(), 'assets-'))
const source = 'export const text = "a text that is long enough to be compressed";\n'.repeat(200)
await writeFile(join(directory, 'page-abc.js'), source)
const file = pathToFileURL(join(directory, 'page-abc.js'))
const { app } = createTestHttp()
serveAssets(app, await readAssets([{ path: '/assets/page-abc.js', file }]))
afterAll(async () => {
  await app.close()
  await rm(directory, { recursive: true })
})

const get = (headers: Record<string, string> = {}) =>
  app.inject({ method: 'GET', url: '/assets/page-abc.js', headers: { host, ...headers } })

test('a file is kept by browsers for good, and is the same in each form', async () => {
  const forms = [
    { accepted: 'gzip, deflate, br, zstd', encoding: 'br', decode: brotliDecompressSync },
    { accepted: 'gzip, deflate', encoding: 'gzip', decode: gunzipSync },
    { accepted: 'identity', encoding: undefined, decode: (bytes: Buffer) => bytes },
  ]
  for (const { accepted, encoding, decode } of forms) {
    const answer = await get({ 'accept-encoding': accepted })
    expect(answer.headers['content-encoding']).toBe(encoding)
    expect(answer.headers['cache-control']).toBe('public, max-age=31536000, immutable')
    expect(answer.headers.vary).toBe('accept-encoding')
    expect(decode(answer.rawPayload).toString()).toBe(source)
    expect(answer.headers['content-security-policy']).toContain("trusted-types 'none'")
  }
  expect((await get({ 'accept-encoding': 'br' })).rawPayload.length).toBeLessThan(500)
})

test('a file that the browser has is not sent again', async () => {
  const { headers } = await get()
  const again = await get({ 'if-none-match': `${headers.etag}` })
  expect([again.statusCode, again.rawPayload.length]).toEqual([304, 0])
})

test('attack: a manifest that names files elsewhere is refused, and none is a build that is not there', async () => {
  const folder = new URL(`${pathToFileURL(directory).href}/`)
  expect(await readBuiltPages(folder)).toBeUndefined()
  for (const name of ['../../../etc/passwd', 'assets/../../x.js', '/etc/passwd', 'assets/a/b.js']) {
    const manifest = { entry: { file: name, name: 'home', isEntry: true } }
    await writeFile(join(directory, 'manifest.json'), JSON.stringify(manifest))
    await expect(readBuiltPages(folder), name).rejects.toThrow('is no name of a built file')
  }
})
