import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { addGlobex, demoKey, sessions, sshAs } from '../support/installation.ts'
import { Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Two tenants on one bastion: each path from one to the other ends at a wall. */
let vaultterm: VaultTerm
let sshd: Sshd
let globexKey: string
let acmeSession: string
let globexSession: string
beforeAll(async () => {
  sshd = await Sshd.start()
  vaultterm = await VaultTerm.start()
  globexKey = await addGlobex(vaultterm, sshd)
  await vaultterm.ssh(['acme', 'echo', 'acme-secret'])
  await sshAs(vaultterm, 'globex', globexKey, ['echo', 'globex-secret'])
  acmeSession = (await sessions(vaultterm, 'acme'))[0]?.id ?? ''
  globexSession = (await sessions(vaultterm, 'globex'))[0]?.id ?? ''
})
afterAll(async () => {
  await vaultterm?.close()
  await sshd?.close()
})

/** Signs in as a browser does, and gives its cookie. */
async function signIn(tenant: string, user: string): Promise<string> {
  const { url } = await vaultterm.json<{ url: string }>('web-login', tenant, user)
  const token = new URL(url).searchParams.get('token') ?? ''
  const { portal } = vaultterm.ready
  const answer = await fetch(`${portal}/login`, {
    method: 'POST',
    redirect: 'manual',
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: portal },
    body: new URLSearchParams({ token }).toString(),
  })
  const cookie = answer.headers.get('set-cookie') ?? ''
  expect(cookie).toMatch(/HttpOnly/)
  expect(cookie).toMatch(/SameSite=Strict/)
  return cookie.split(';')[0] ?? ''
}

const get = (path: string, cookie: string) =>
  fetch(`${vaultterm.ready.portal}${path}`, { headers: { cookie }, redirect: 'manual' })

test('each has its own session, and it works', async () => {
  expect(acmeSession).not.toBe('')
  expect(globexSession).not.toBe('')
  expect(acmeSession).not.toBe(globexSession)
})

test("attack: a key of one tenant's user opens nothing of another's", async () => {
  for (const user of ['acme', 'acme+web1', 'acme+db']) {
    const { code, stderr } = await sshAs(vaultterm, user, globexKey)
    expect([code, stderr]).toEqual([255, expect.stringContaining('Permission denied')])
  }
  expect((await sshAs(vaultterm, 'globex+db', demoKey(vaultterm))).code).toBe(255)
})

test("attack: one tenant's name with another's target", async () => {
  const { code, stderr } = await sshAs(vaultterm, 'globex+web1', globexKey)
  expect(code).toBe(255)
  expect(stderr).toMatch(/^vaultterm: .*ERR_/)
  expect(stderr).not.toContain('acme')
})

test('attack: the same key in two tenants is two people', async () => {
  await vaultterm.json('user', 'add', 'globex', 'demo')
  await vaultterm.json('key', 'add', 'globex', 'demo', `${demoKey(vaultterm)}.pub`)
  // Known there now, and granted nothing: what acme grants the same key does not follow it.
  const { code, stderr } = await sshAs(vaultterm, 'globex+db', demoKey(vaultterm))
  expect([code, stderr]).toEqual([255, expect.stringMatching(/ERR_/)])
})

test("attack: a member asks for another tenant's session by its id, on every path", async () => {
  const cookie = await signIn('globex', 'gina')
  expect((await get(`/api/v1/sessions/${globexSession}`, cookie)).status).toBe(200)
  const listed = await (await get('/api/v1/sessions', cookie)).text()
  expect(listed).toContain(globexSession)
  expect(listed).not.toContain(acmeSession)
  expect(await (await get('/plain/sessions', cookie)).text()).not.toContain(acmeSession)
  const unknown = '00000000-0000-7000-8000-000000000000'
  for (const path of [
    '/sessions/ID',
    '/plain/sessions/ID',
    '/api/v1/sessions/ID',
    '/api/v1/sessions/ID/recording.cast',
  ]) {
    const foreign = await get(path.replace('ID', acmeSession), cookie)
    const missing = await get(path.replace('ID', unknown), cookie)
    const body = async (answer: Response) =>
      (await answer.text()).replace(/"requestId":"[^"]*"/, '')
    expect([foreign.status, await body(foreign)]).toEqual([missing.status, await body(missing)])
    expect(foreign.status).toBe(404)
  }
})

test('attack: a cookie with the other tenant written over its own', async () => {
  const cookie = await signIn('globex', 'gina')
  const tenants = await vaultterm.json<{ id: string; slug: string }[]>('tenant', 'list')
  const acme = tenants.find(({ slug }) => slug === 'acme')?.id ?? ''
  const forged = cookie.replace(/=[0-9a-f-]{36}\./, `=${acme}.`)
  expect(forged).not.toBe(cookie)
  expect((await get('/api/v1/sessions', forged)).status).toBe(401)
})

test('attack: a form of another site signs nobody in or out', async () => {
  const { portal } = vaultterm.ready
  const cookie = await signIn('acme', 'demo')
  const foreign = {
    cookie,
    origin: 'https://evil.example',
    'content-type': 'application/x-www-form-urlencoded',
  }
  const out = await fetch(`${portal}/logout`, {
    method: 'POST',
    headers: foreign,
    body: '',
    redirect: 'manual',
  })
  expect(out.status).toBe(403)
  expect((await get('/api/v1/sessions', cookie)).status).toBe(200)
})

test("each tenant's commands list its own and nothing else", async () => {
  const nouns = ['user', 'key', 'target', 'grant', 'session']
  for (const noun of nouns) {
    const text = JSON.stringify(await vaultterm.json(noun, 'list', 'globex'))
    expect([noun, text]).not.toEqual([noun, expect.stringMatching(/web1|acme/)])
  }
  const log = JSON.stringify(await vaultterm.json('audit', 'tail', 'globex', '--limit', '1000'))
  expect(log).not.toContain('acme-secret')
  expect(await vaultterm.json('audit', 'verify', 'globex')).toMatchObject({ ok: true })
})

test("attack: one tenant's key is not accepted where only the other's was let in", async () => {
  const [acme, globex] = await Promise.all(
    [
      ['acme', 'web1'],
      ['globex', 'db'],
    ].map(([tenant = '', target = '']) =>
      vaultterm.json<{ publicKey: string }>('target', 'onboard', tenant, target),
    ),
  )
  expect(acme?.publicKey).not.toBe(globex?.publicKey)
  expect(readFileSync(`${sshd.directory}/authorized_keys`, 'utf8')).not.toContain(
    acme?.publicKey.split(' ')[1],
  )
})

test('a suspended tenant is let in nowhere, and again once it is resumed', async () => {
  const cookie = await signIn('globex', 'gina')
  await vaultterm.json('tenant', 'suspend', 'globex')
  expect((await sshAs(vaultterm, 'globex+db', globexKey)).code).toBe(255)
  expect((await get('/api/v1/sessions', cookie)).status).toBe(401)
  await vaultterm.json('tenant', 'resume', 'globex')
  expect((await sshAs(vaultterm, 'globex+db', globexKey)).code).toBe(0)
})
