import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openBrowser } from '../support/browser.ts'
import { demoKey, events, eventually, makeKey, sessions, sshAs } from '../support/installation.ts'
import { PasskeyPage } from '../support/passkey-page.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** From an invitation to a shell and out again, as the owner of a tenant and a new colleague do it. */
let vaultterm: VaultTerm
let browser: Awaited<ReturnType<typeof openBrowser>>
beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  browser = await openBrowser()
})
afterAll(async () => {
  await browser?.close()
  await vaultterm?.close()
})

/** What a person has to be done with, three minutes after they got the link. */
const patienceMs = 180_000

async function addPasskey(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Add a passkey' }).click()
  await page.getByRole('button', { name: 'Add a passkey' }).click()
  await page.getByRole('dialog').getByLabel('Name').fill('laptop')
  await page.getByRole('button', { name: 'Make the passkey' }).click()
  await page.getByText('laptop was added.').waitFor()
}

test('a colleague is invited, comes in, opens a shell, gets another role, and is out when removed', async () => {
  // What members of acme may open is decided before there are any.
  await vaultterm.json('grant', 'add', 'acme', '--role', 'member', '--target', 'web1')
  const portal = vaultterm.ready.portal.replace('127.0.0.1', 'localhost')
  const { url } = await vaultterm.json<{ url: string }>('web-login', 'acme', 'demo')
  const owner = await PasskeyPage.open(browser, `${portal}/login`)
  await owner.enter(new URL(url).searchParams.get('token') ?? '')
  await addPasskey(owner.page)
  await owner.page.getByRole('link', { name: 'Members' }).click()
  await owner.page.getByRole('button', { name: 'Invite a member' }).click()
  await owner.page.getByLabel('User name').fill('jonas')
  await owner.page.getByRole('button', { name: 'Invite', exact: true }).click()
  await owner.page.getByRole('button', { name: 'Confirm with your passkey' }).click()
  await owner.page.getByRole('heading', { name: 'The link for jonas' }).waitFor()
  const link = (await owner.page.locator('dialog[open] pre').textContent()) ?? ''
  await owner.page.getByRole('button', { name: 'I have it' }).click()

  const gotLinkAt = performance.now()
  const jonas = await PasskeyPage.open(browser, link)
  await jonas.page.getByRole('button', { name: 'Sign in' }).click()
  await addPasskey(jonas.page)
  const key = makeKey(vaultterm, 'jonas')
  await jonas.page.getByRole('button', { name: 'Add an SSH key' }).click()
  const form = jonas.page.getByRole('dialog')
  await form.getByLabel('Public key').fill(readFileSync(`${key}.pub`, 'utf8'))
  await form.getByLabel('Name').fill('my laptop')
  await jonas.page.getByRole('button', { name: 'Add the key' }).click()
  await jonas.page.getByRole('button', { name: 'Confirm with your passkey' }).click()
  await jonas.page.getByText('my laptop was added.').waitFor()
  await jonas.page.getByRole('link', { name: 'Targets' }).click()
  await jonas.page.getByRole('link', { name: 'Connect to web1' }).click()
  await jonas.page.getByText('acme+web1').first().waitFor()
  const shell = await sshAs(vaultterm, 'acme+web1', key, ['echo', 'in'])
  expect(shell).toMatchObject({ stdout: 'in\n', code: 0 })
  expect(performance.now() - gotLinkAt).toBeLessThan(patienceMs)
  await jonas.page.getByRole('link', { name: 'Sessions' }).click()
  await jonas.page.getByText('echo in').first().waitFor()

  // An auditor has no grant here: the session that the member has open ends.
  const live = sshAs(vaultterm, 'acme+web1', key, ['sleep', '60'])
  await eventually(
    async () => (await sessions(vaultterm)).find((one) => one.live),
    'a live session of jonas',
  )
  await owner.page.getByRole('button', { name: 'Change role of jonas' }).click()
  await owner.page.getByRole('radio', { name: /^auditor/ }).check()
  await owner.page.getByRole('button', { name: 'Change the role' }).click()
  await owner.page.getByText('jonas is auditor now.').waitFor()
  expect((await live).stderr).toContain('ERR_SESSION_KILLED')
  expect((await sshAs(vaultterm, 'acme+web1', key)).stderr).toContain('vaultterm: ')

  await owner.page.getByRole('button', { name: 'Remove jonas' }).click()
  await owner.page.getByLabel('Type jonas to confirm').fill('jonas')
  await owner.page.getByRole('button', { name: 'Remove the member' }).click()
  await owner.page.getByText('jonas was removed.').waitFor()
  expect((await sshAs(vaultterm, 'acme+web1', key)).code).toBe(255)
  await jonas.page.reload()
  await jonas.page.waitForURL((at) => at.pathname === '/login')
  const log = (await events(vaultterm)).map(({ type }) => type)
  const acts = ['user.add', 'web.link', 'factor.add', 'key.add', 'user.role', 'user.remove']
  for (const act of acts) expect(log).toContain(act)
  expect(demoKey(vaultterm)).not.toBe(key)
})
