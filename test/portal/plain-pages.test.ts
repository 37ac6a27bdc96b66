import { Registry } from 'prom-client'
import { afterAll, expect, test } from 'vitest'
import { createMetrics } from '../../src/metrics.ts'
import { createPortal } from '../../src/portal/index.ts'
import { silent } from '../support/postgres.ts'
import { hostile, openPagesFixture } from './pages-fixture.ts'

/** The pages without JavaScript, and an installation whose pages were not built. */
const fixture = await openPagesFixture()
const { acme, sessions, host, signIn, ask, access, auth, audit, ca, recordings } = fixture
const cookie = await signIn(acme, 'ines')

const unbuilt = await createPortal({
  ...{ access, auth, audit, ca, recorder: recordings.recorder, log: silent },
  metrics: new Registry(),
  page: createMetrics(),
  publicUrl: `http://${host}`,
  checks: {},
  ssh: () => ({ host: undefined, port: 2222 }),
  pages: new URL('file:///nonexistent/'),
})
afterAll(() => unbuilt.close())

const pages = [
  ['/', '/plain'],
  ['/sessions', '/plain/sessions'],
  ['/settings/security', '/plain/security'],
  [`/sessions/${sessions.hostile}`, `/plain/sessions/${sessions.hostile}`],
] as const

test.each(pages)('%s says where the same is without JavaScript', async (path, plain) => {
  const { body, headers } = await ask('GET', path, cookie)
  const noscript = /<noscript>[\s\S]*<\/noscript>/.exec(body)?.[0]
  expect(noscript).toContain(`href="${plain}"`)
  expect(headers['content-security-policy']).toContain("style-src 'self'")
  expect(body).not.toMatch(/<script(?![^>]* src="\/assets\/)|<style|style="|\bon\w+="/)
})

test.each(pages)('without a build, %s is the plain page and says so', async (path, plain) => {
  const headers = { host, cookie, accept: 'text/html' }
  const moved = await unbuilt.inject({ method: 'GET', url: path, headers })
  expect([moved.statusCode, moved.headers.location]).toEqual([303, plain])
  const { statusCode, body } = await unbuilt.inject({ method: 'GET', url: plain, headers })
  expect(statusCode).toBe(200)
  expect(body).toContain('were not built')
  expect(body).toContain('bin/run build')
  const { body: whole } = await ask('GET', plain, cookie)
  expect(whole).not.toContain('were not built')
})

test('attack: names and commands from outside are text on the plain pages', async () => {
  for (const path of ['/plain/sessions', `/plain/sessions/${sessions.hostile}`]) {
    const { body } = await ask('GET', path, cookie)
    expect(body).toContain('&lt;img src=x onerror=alert(1)&gt;\\u202egnp.exe\\u200b \\x1b[31m')
    for (const raw of [hostile, '\u202e', '\x1b', '<img src=x']) expect(body).not.toContain(raw)
  }
})

test('only the page of a session may compile the player, and none has a looser policy', async () => {
  const policyOf = async (path: string) =>
    `${(await ask('GET', path, cookie)).headers['content-security-policy']}`
  for (const path of ['/', '/sessions', '/plain', '/login', '/nowhere', '/api/v1/self']) {
    const policy = await policyOf(path)
    expect(policy, path).toMatch(/script-src 'self';/)
    expect(policy).toContain("require-trusted-types-for 'script'; trusted-types 'none'")
  }
  const replay = await policyOf(`/sessions/${sessions.shell}`)
  expect(replay).toContain("script-src 'self' 'wasm-unsafe-eval';")
  expect(replay).not.toContain('unsafe-inline')
})
