import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openBrowser } from '../support/browser.ts'
import { openConsole, openPagesFixture } from './pages-fixture.ts'

/**
 * Every page of the portal and the console, in both themes and on a phone: under the policy, for everybody,
 * and to look at. With VAULTTERM_SCREENSHOTS, `bin/run screenshots`, a picture of each is kept there.
 */
const fixture = await openPagesFixture()
const { acme, sessions, auth, signIn } = fixture
const console_ = await openConsole(fixture.database.app, fixture.vault)
/** By the name at which passkeys work. */
const named = (url: string) => url.replace('127.0.0.1', 'localhost')
const portalUrl = named(fixture.portalUrl)
const consoleUrl = named(console_.url)
const pictures = process.env.VAULTTERM_SCREENSHOTS

let browser: Browser
let cookies: { readonly boss: string; readonly nobody: string }
let token: string
beforeAll(async () => {
  await acme.person('mara')
  cookies = { boss: await signIn(acme, 'ines'), nobody: await signIn(acme, 'mara') }
  const link = await auth.createLoginLink(acme.tenant, 'mara', {
    kind: 'system',
    id: 't',
    name: 't',
  })
  token = link.token
  browser = await openBrowser()
})
afterAll(() => browser?.close())

type Who = 'boss' | 'nobody' | 'stranger' | 'administrator'
interface Shown {
  readonly name: string
  readonly path: () => string
  readonly who: Who
  /** Until the page is as it is looked at. */
  readonly ready: (page: Page) => Promise<unknown>
  readonly before?: (page: Page) => Promise<unknown>
}
const heading = (name: string | RegExp) => (page: Page) =>
  page.getByRole('heading', { name }).first().waitFor()
const text = (name: string | RegExp) => (page: Page) => page.getByText(name).first().waitFor()
const row = (page: Page) => page.locator('tbody tr').first().waitFor()

/** Answers of the server that a browser without a security key does not get: here they are only looked at. */
const passkey = { createdAt: '2026-03-03T10:00:00.000Z', synced: true, transports: ['internal'] }
const oneCertificate = {
  items: [
    {
      id: '7c1b6c1e-6a4e-4a0c-9a52-0d8b1c0f3a11',
      serial: '41',
      fingerprint: 'SHA256:uNiVztksCsDhcc0u9e8BrnSLnRVvNf9lJqGdnQmJzfM',
      issuedAt: new Date(Date.now() - 3_600_000).toISOString(),
      expiresAt: new Date(Date.now() + 7 * 3_600_000).toISOString(),
    },
  ],
  next: null,
}
const twoPasskeys = {
  items: [
    { ...passkey, id: '1', name: 'Laptop, Touch ID', usedAt: '2026-11-29T08:58:00.000Z' },
    { ...passkey, id: '2', name: 'Key in the safe', usedAt: null, synced: false },
  ],
  next: null,
}
const invited = {
  member: { name: 'priya' },
  invitation: {
    url: `http://portal.test/login?token=bc60023d-f5b3-4fcc-8fd6-d442ebd4a5f3.${'Qv7'.repeat(14)}x`,
    expiresAt: '2026-12-08T09:00:00.000Z',
  },
}
const proofWanted = {
  error: { code: 'ERR_STEP_UP_REQUIRED', message: 'confirm', purpose: 'key.change' },
}

const pages: readonly Shown[] = [
  { name: 'sign-in', path: () => '/login', who: 'stranger', ready: heading('Sign in') },
  {
    name: 'sign-in-link',
    path: () => `/login?token=${token}`,
    who: 'stranger',
    ready: heading('Sign in'),
  },
  { name: 'home', path: () => '/', who: 'boss', ready: row },
  {
    name: 'home-connect',
    path: () => '/?target=db1',
    who: 'boss',
    ready: heading('Connect to db1'),
  },
  {
    name: 'home-config',
    path: () => '/?target=db1',
    who: 'boss',
    async ready(page) {
      await page.getByText('ssh_config', { exact: true }).click()
      await page.getByText('ProxyJump').waitFor()
    },
  },
  {
    name: 'home-empty',
    path: () => '/',
    who: 'nobody',
    ready: heading('You cannot open a target yet.'),
  },
  {
    name: 'home-nothing',
    path: () => '/?search=nowhere',
    who: 'boss',
    ready: text('No target that you may open'),
  },
  { name: 'sessions', path: () => '/sessions', who: 'boss', ready: row },
  {
    name: 'sessions-filtered',
    path: () => '/sessions?user=jonas&live=false',
    who: 'boss',
    ready: row,
  },
  {
    name: 'sessions-empty',
    path: () => '/sessions',
    who: 'nobody',
    ready: text('No sessions yet.'),
  },
  {
    name: 'sessions-nothing',
    path: () => '/sessions?user=nobody',
    who: 'boss',
    ready: text('No session matches'),
  },
  {
    name: 'sessions-failed',
    path: () => '/sessions',
    who: 'boss',
    before: (page) => page.route('**/api/v1/sessions?*', (route) => route.abort()),
    ready: text('could not be loaded'),
  },
  {
    name: 'sessions-loading',
    path: () => '/sessions',
    who: 'boss',
    before: (page) => page.route('**/api/v1/sessions?*', () => undefined),
    ready: text('Still loading.'),
  },
  {
    name: 'sessions-end',
    path: () => '/sessions',
    who: 'boss',
    async ready(page) {
      await page.getByRole('button', { name: /^End jonas/ }).click()
      await page.getByText('Type jonas to confirm').waitFor()
    },
  },
  {
    name: 'keys',
    path: () => '/sessions',
    who: 'boss',
    async ready(page) {
      await row(page)
      await page.keyboard.press('?')
      await page.getByRole('heading', { name: 'Keys' }).waitFor()
    },
  },
  {
    name: 'security',
    path: () => '/settings/security',
    who: 'boss',
    async before(page) {
      await page.route('**/api/v1/self/passkeys', (route) => route.fulfill({ json: twoPasskeys }))
      await page.route('**/api/v1/self/certificates', (route) =>
        route.fulfill({ json: oneCertificate }),
      )
    },
    async ready(page) {
      await page.getByText('Laptop, Touch ID').first().waitFor()
      await page.getByText('Only for today: a certificate').click()
      await page.getByText('No. 41').first().waitFor()
    },
  },
  {
    name: 'security-new',
    path: () => '/settings/security',
    who: 'nobody',
    async ready(page) {
      await page.getByText('You have no passkey yet.').waitFor()
      await page.getByText('this one, by a link').waitFor()
    },
  },
  { name: 'security-key', path: () => '/settings/security', who: 'boss', ready: addKey },
  {
    name: 'security-private-key',
    path: () => '/settings/security',
    who: 'boss',
    async ready(page) {
      await addKey(page)
      await page
        .getByRole('dialog')
        .getByLabel('Public key')
        .fill('-----BEGIN OPENSSH PRIVATE KEY-----')
      await page.getByRole('button', { name: 'Add the key' }).click()
      await page.getByText('This is a private key.').waitFor()
    },
  },
  { name: 'members', path: () => '/settings/members', who: 'boss', ready: row },
  { name: 'members-invite', path: () => '/settings/members', who: 'boss', ready: inviteMember },
  {
    name: 'members-link',
    path: () => '/settings/members',
    who: 'boss',
    before: (page) =>
      page.route('**/api/v1/members', (route) =>
        route.request().method() === 'POST'
          ? route.fulfill({ status: 201, json: invited })
          : route.fallback(),
      ),
    async ready(page) {
      await inviteMember(page)
      await page.getByLabel('User name').fill('priya')
      await page.getByRole('button', { name: 'Invite', exact: true }).click()
      await page.getByRole('heading', { name: 'The link for priya' }).waitFor()
    },
  },
  {
    name: 'members-role',
    path: () => '/settings/members',
    who: 'boss',
    async ready(page) {
      await page.getByRole('button', { name: 'Change role of jonas' }).click()
      await page.getByRole('heading', { name: 'The role of jonas' }).waitFor()
    },
  },
  {
    name: 'members-remove',
    path: () => '/settings/members',
    who: 'boss',
    async ready(page) {
      await page.getByRole('button', { name: 'Remove jonas' }).click()
      await page.getByText('Type jonas to confirm').waitFor()
    },
  },
  {
    name: 'step-up',
    path: () => '/settings/security',
    who: 'boss',
    before: (page) =>
      page.route('**/api/v1/self/keys', (route) =>
        route.request().method() === 'POST'
          ? route.fulfill({ status: 428, json: proofWanted })
          : route.fallback(),
      ),
    async ready(page) {
      await addKey(page)
      await page
        .getByRole('dialog')
        .getByLabel('Public key')
        .fill('ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA a')
      await page.getByRole('button', { name: 'Add the key' }).click()
      await page.getByRole('heading', { name: 'Confirm that it is you' }).waitFor()
    },
  },
  { name: 'replay', path: () => `/sessions/${sessions.shell}`, who: 'boss', ready: replayed },
  {
    name: 'replay-hostile',
    path: () => `/sessions/${sessions.hostile}`,
    who: 'boss',
    ready: replayed,
  },
  {
    name: 'session-live',
    path: () => `/sessions/${sessions.live}`,
    who: 'boss',
    ready: text('The session goes on'),
  },
  {
    name: 'session-unrecorded',
    path: () => `/sessions/${sessions.forward}`,
    who: 'boss',
    ready: text('there is no recording'),
  },
  { name: 'not-found', path: () => '/sessions/nowhere', who: 'boss', ready: text('ERR_NOT_FOUND') },
  { name: 'plain-targets', path: () => '/plain', who: 'boss', ready: row },
  {
    name: 'plain-security',
    path: () => '/plain/security',
    who: 'boss',
    ready: text('Passkeys need JavaScript'),
  },
  { name: 'plain-sessions', path: () => '/plain/sessions', who: 'boss', ready: row },
  {
    name: 'plain-session',
    path: () => `/plain/sessions/${sessions.hostile}`,
    who: 'boss',
    ready: text('Download .cast'),
  },
  {
    name: 'console-sign-in',
    path: () => `${consoleUrl}/login`,
    who: 'stranger',
    ready: heading('Sign in'),
  },
  {
    name: 'console',
    path: () => `${consoleUrl}/`,
    who: 'administrator',
    ready: heading('Overview'),
  },
]

async function inviteMember(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Invite a member' }).click()
  await page.getByLabel('User name').waitFor()
}

async function addKey(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Add an SSH key' }).click()
  await page.getByRole('dialog').getByLabel('Public key').waitFor()
}

async function replayed(page: Page): Promise<void> {
  await page.locator('.ap-player').waitFor()
  await page.getByText(/to watch of/).waitFor()
  await page.getByText('priya@db1').first().waitFor()
}

const wide = { width: 1280, height: 800 }
const narrow = { width: 390, height: 844 }
const looks = [
  { name: 'light', colorScheme: 'light', viewport: wide },
  { name: 'dark', colorScheme: 'dark', viewport: wide },
  { name: 'phone-dark', colorScheme: 'dark', viewport: narrow },
  { name: 'phone', colorScheme: 'light', viewport: narrow },
] as const

/** A page of its own, which tells what its policy refused. */
async function openPage(who: Who) {
  const context = await browser.newContext({ viewport: wide, timezoneId: 'Europe/Zurich' })
  await giveCookie(context, who)
  const page = await context.newPage()
  const wrong: string[] = []
  await page.exposeFunction('tellViolation', (what: string) => wrong.push(what))
  await page.addInitScript(`document.addEventListener('securitypolicyviolation', (event) =>
    tellViolation([event.effectiveDirective, event.blockedURI, event.sample].join(' ')))`)
  page.on('pageerror', (err) => wrong.push(err.message))
  page.on('console', (message) => {
    if (message.type() === 'error') wrong.push(message.text())
  })
  page.on('dialog', (dialog) => wrong.push(`dialog ${dialog.message()}`))
  return { page, wrong, [Symbol.asyncDispose]: () => context.close() }
}

async function giveCookie(context: BrowserContext, who: Who): Promise<void> {
  if (who === 'stranger') return
  const cookie = who === 'administrator' ? console_.cookie : cookies[who]
  const [name = '', value = ''] = cookie.split('=')
  await context.addCookies([{ name, value, url: portalUrl }])
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']

/** What axe finds. It comes by the debugger: the page's policy refuses every script that is not its own. */
async function findBarriers(page: Page): Promise<readonly string[]> {
  const debug = await page.context().newCDPSession(page)
  const run = `${axe};axe.run({ runOnly: ${JSON.stringify(tags)} }).then((found) => JSON.stringify(
    found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ' ' + html))))`
  const answer = await debug.send('Runtime.evaluate', {
    expression: run,
    awaitPromise: true,
    returnByValue: true,
  })
  await debug.detach()
  return JSON.parse(answer.result.value)
}

const tooMuch = 'document.documentElement.scrollWidth - document.documentElement.clientWidth'
/** A browser says so by itself. */
const expected = /net::ERR_FAILED|status of (404|428)/

test.each(pages)(
  '$name: nothing is refused, in the way, or wider than the screen',
  async (shown) => {
    await using opened = await openPage(shown.who)
    const { page, wrong } = opened
    await shown.before?.(page)
    await page.goto(new URL(shown.path(), portalUrl).href)
    await shown.ready(page)
    for (const { name, colorScheme, viewport } of looks) {
      await page.emulateMedia({ colorScheme })
      await page.setViewportSize(viewport)
      if (pictures !== undefined) {
        mkdirSync(pictures, { recursive: true })
        const path = join(pictures, `${shown.name}-${name}.png`)
        await page.screenshot({ path, fullPage: true })
      }
      // Colours and widths differ; what axe sees in the phone's dark look it has seen in the two others.
      const found = name === 'phone-dark' ? [] : await findBarriers(page)
      expect({ look: name, found }).toEqual({ look: name, found: [] })
      expect({ look: name, tooWide: await page.evaluate(tooMuch) }).toEqual({
        look: name,
        tooWide: 0,
      })
    }
    expect(wrong.filter((what) => !expected.test(what))).toEqual([])
  },
)

test('the built pages are there', () => {
  expect(existsSync(new URL('../../web/dist/manifest.json', import.meta.url))).toBe(true)
})
