import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { VaultTerm } from '../support/vaultterm.ts'

/** Where a secret could end up, once everything that uses one has been done. */
let vaultterm: VaultTerm
let token: string
let passwords: string[]
beforeAll(async () => {
  vaultterm = await VaultTerm.start({ VAULTTERM_LOG: 'trace' })
  await vaultterm.ssh(['acme+web1', 'echo done'])
  await vaultterm.ssh(['acme+absent', 'true'])
  const { url } = await vaultterm.json<{ url: string }>('web-login', 'acme', 'demo')
  token = new URL(url).searchParams.get('token') ?? ''
  const { portal } = vaultterm.ready
  await fetch(`${portal}/login?token=${token}`)
  await fetch(`${portal}/login`, {
    method: 'POST',
    redirect: 'manual',
    headers: { 'content-type': 'application/x-www-form-urlencoded', origin: portal },
    body: new URLSearchParams({ token }).toString(),
  })
  const logins = JSON.parse(readFileSync(join(vaultterm.home, 'logins.json'), 'utf8'))
  passwords = Object.values(logins)
})
afterAll(() => vaultterm?.close())

const expectClean = (text: string) => {
  expect(text).not.toMatch(/PRIVATE KEY/)
  expect(text).not.toContain(token)
  for (const password of passwords) expect(text).not.toContain(password)
  const kek = readFileSync(join(vaultterm.home, 'kek'))
  for (const form of ['hex', 'base64', 'base64url'] as const) {
    expect(text).not.toContain(kek.toString(form))
  }
  expect(text).not.toContain(kek.toString('utf8').trim())
}

test('the most talkative log holds none', () => {
  expect(vaultterm.stderr).toContain('"level":"debug"')
  expectClean(vaultterm.stderr)
})

test('metrics hold none', async () => {
  const text = await (await fetch(`${vaultterm.ready.portal}/metrics`)).text()
  expect(text).toContain('bastion_sessions')
  expectClean(text)
})

test('no command line on the machine holds one', () => {
  expectClean(execFileSync('ps', ['-eo', 'args='], { encoding: 'utf8', maxBuffer: 2 ** 26 }))
})

test('what the state directory holds is for its owner only', () => {
  const open: string[] = []
  const visit = (directory: string) => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name)
      if (!entry.isSymbolicLink() && (statSync(path).mode & 0o077) !== 0) open.push(path)
      if (entry.isDirectory()) visit(path)
    }
  }
  expect(statSync(vaultterm.home).mode & 0o777).toBe(0o700)
  visit(vaultterm.home)
  // The home itself is closed; what must be read in it by others does not exist.
  expect(
    open.filter(
      (path) =>
        /kek|logins|host|demo_ed25519$|run\.json|recordings/.test(path) && !path.endsWith('.pub'),
    ),
  ).toEqual([])
})

test('the audit log and the database in plain text hold no private key', async () => {
  expectClean(JSON.stringify(await vaultterm.json('audit', 'tail', 'acme', '--limit', '1000')))
})
