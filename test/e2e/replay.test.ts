import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openBrowser } from '../support/browser.ts'
import { events, eventually, sessions } from '../support/installation.ts'
import { SshTerminal } from '../support/ssh-terminal.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Somebody works in a shell, and somebody watches it in a browser. */
let vaultterm: VaultTerm
let browser: Awaited<ReturnType<typeof openBrowser>>
let session: string
beforeAll(async () => {
  vaultterm = await VaultTerm.start()
  browser = await openBrowser()
  const config = join(vaultterm.home, 'demo/ssh_config')
  const terminal = new SshTerminal(['-F', config, 'acme+web1'])
  await terminal.waitFor(/[#$] /)
  terminal.type(`printf '<b>%s</b> \\342\\234\\223\\n' "$((6*7)) is the last line"; exit\r`)
  expect(await terminal.exited).toBe(0)
  session = await eventually(
    async () => (await sessions(vaultterm)).find(({ live }) => !live)?.id,
    'the end of the session',
  )
})
afterAll(async () => {
  await browser?.close()
  await vaultterm?.close()
})

const link = async () => (await vaultterm.json<{ url: string }>('web-login', 'acme', 'demo')).url

test('a one-time link signs in, the list leads to the replay, and its end shows the last line', async () => {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 } })
  const wrong: string[] = []
  page.on('pageerror', (err) => wrong.push(err.message))
  page.on('console', (message) => {
    if (message.type() === 'error') wrong.push(message.text())
  })
  const url = await link()
  await page.goto(url)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('heading', { name: 'What can I open?' }).waitFor()
  await page.getByRole('link', { name: 'Sessions' }).click()
  await page.getByRole('heading', { name: 'Sessions' }).waitFor()
  await page.getByRole('link', { name: 'Replay' }).first().click()
  await page.waitForURL(new RegExp(`/sessions/${session}$`))
  const player = page.locator('.ap-player')
  await player.waitFor()
  await player.click()
  await page.keyboard.press('End')
  await player.getByText('<b>42 is the last line</b> ✓').first().waitFor({ timeout: 60_000 })
  const directory = process.env.VAULTTERM_SCREENSHOTS
  if (directory !== undefined) {
    await page.screenshot({ path: join(directory, 'replay.png') })
    await page.goto(vaultterm.ready.portal)
    await page.screenshot({ path: join(directory, 'sessions.png') })
  }
  expect(wrong).toEqual([])
  const opened = (await events(vaultterm)).filter(({ type }) => type === 'recording.open')
  expect(opened.map((event) => event.public.session)).toContain(session)

  // The link is spent, for a stranger who finds it as for its owner.
  const stranger = await (await browser.newContext()).newPage()
  await stranger.goto(url)
  await stranger.getByRole('button', { name: 'Sign in' }).click()
  await stranger.getByText('ERR_LINK_SPENT').waitFor()
  await stranger.goto(`${vaultterm.ready.portal}/sessions/${session}`)
  expect(stranger.url()).toBe(`${vaultterm.ready.portal}/login`)
})

test('the admin pages are on their own listener, behind their own sign-in', async () => {
  const { url } = await vaultterm.json<{ url: string }>('web-login', '--admin', 'root')
  expect(url.startsWith(vaultterm.ready.admin)).toBe(true)
  const page = await (await browser.newContext()).newPage()
  await page.goto(url)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('heading', { name: 'Overview' }).waitFor()
  await page.getByRole('cell', { name: 'acme', exact: true }).waitFor()
  const directory = process.env.VAULTTERM_SCREENSHOTS
  if (directory !== undefined) await page.screenshot({ path: join(directory, 'admin.png') })
  for (const path of ['/api/v1/admin/tenants', '/api/v1/admin/vault/health']) {
    expect((await fetch(`${vaultterm.ready.admin}${path}`)).status).toBe(401)
    expect((await fetch(`${vaultterm.ready.portal}${path}`)).status).toBe(404)
  }
  // A removed administrator is out with the next click.
  const list = await vaultterm.json<{ name: string; sessions: number }[]>('admin', 'list')
  expect(list.find(({ name }) => name === 'root')).toMatchObject({ sessions: 1 })
  const { stdout } = await vaultterm.cli(['admin', 'remove', 'root'])
  expect(stdout).toBe('removed administrator root; ended 1 browser session\n')
  await page.reload()
  expect(page.url()).toBe(`${vaultterm.ready.admin}/login`)
  expect((await vaultterm.cli(['admin', 'remove', 'root'])).stderr).toContain('ERR_ADMIN_MISSING')
})
