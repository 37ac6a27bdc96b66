import { afterAll, beforeAll, expect, test } from 'vitest'
import { actor, open } from '../access/access-fixture.ts'
import { openBrowser } from '../support/browser.ts'
import { openPortalFixture } from './portal-fixture.ts'

/** The page of a session in a browser, with a recording of an older bastion, or of somebody else. */
const fixture = await openPortalFixture()
const { access, portal, host, recordings } = fixture
const origin = `http://${host}`

let browser: Awaited<ReturnType<typeof openBrowser>>
let cookie: string
let session: string
beforeAll(async () => {
  const acme = await fixture.place()
  await acme.target('web1')
  const person = await acme.person('boss', 'owner')
  await access.addGrant(acme.tenant, { user: 'boss', target: 'web1' }, actor)
  const { tenant } = acme
  const id = await open(access, person, 'web1')
  const { output, recording } = await recordings.begin({ tenant, session: id })
  await output('shown')
  const digest = await recording.end()
  await access.endSession(id, { tenant, bytes: 1, reason: 'ended', recording: digest })
  session = id
  cookie = await fixture.signIn(acme, 'boss')
  browser = await openBrowser()
})
afterAll(() => browser?.close())

type Events = readonly (readonly [interval: number, code: string, data: string])[]

/** The replay at its end, of a recording with these events. `edit` changes the page's script that reads it. */
async function replayOf(size: { cols: number; rows: number }, events: Events, edit = untouched) {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 } })
  const lines = [{ version: 3, term: size }, ...events].map((line) => `${JSON.stringify(line)}\n`)
  await page.route(`${origin}/**`, async (route) => {
    const url = route.request().url().slice(origin.length)
    if (url.endsWith('/recording.cast')) return route.fulfill({ body: lines.join('') })
    const answer = await portal.inject({ method: 'GET', url, headers: { host, cookie } })
    const headers = Object.entries(answer.headers).map(([name, value]) => [name, `${value}`])
    const body = /\/replayer-.*\.js$/.test(url) ? edit(answer.body) : answer.rawPayload
    await route.fulfill({ status: answer.statusCode, headers: Object.fromEntries(headers), body })
  })
  await page.goto(`${origin}/sessions/${session}`)
  const terminal = page.locator('.ap-player')
  await terminal.click()
  await page.keyboard.press('End')
  return { page, terminal, notes: page.locator('#replay-notes') }
}
const untouched = (script: string) => script
/** A busy machine draws for longer. */
const patient = { timeout: 60_000 }
const shown = '\x1bc\x1b[?7h\x1b[HTHE-DEED\r\n'
const begin = [0, 'o', shown] as const
const deed = [0.1, 'o', shown] as const

test('attack: one column and a wide character do not hide the rest of a session', async () => {
  const events = [
    [0.1, 'o', 'before'],
    [0.1, 'o', '\x1b[?7l👨 \x1b[?7l👨'],
    [0.1, 'r', '1x1'],
    [0.1, 'o', '\x1b[?7l👨 \x1b[?7l👨'],
    [0.1, 'r', '80x24'],
    deed,
  ] as const
  const { page, terminal, notes } = await replayOf({ cols: 1, rows: 5 }, events)
  await terminal.getByText('THE-DEED').first().waitFor()
  await notes.getByText('From 00:00 on, the terminal is drawn in another size').waitFor()
  await page.close()
})

test('attack: kilobytes that make the work of minutes are drawn in seconds', async () => {
  const events = ['#8', '[65535M', '[65535b', '[2J', 'c', '[65535S'].map(
    (sequence) => [0.1, 'o', `x\x1b${sequence}`.repeat(1000 / (sequence.length + 2))] as const,
  )
  const { page, terminal, notes } = await replayOf({ cols: 1000, rows: 500 }, [...events, deed])
  await terminal.getByText('THE-DEED').first().waitFor(patient)
  expect(await notes.innerText()).toContain('larger than 300 × 100')
  await page.close()
})

test('attack: a recording that takes minutes to draw leaves the page alive, and it says so', async () => {
  const heavy = Array.from({ length: 50 }, () => [0.1, 'o', 'x\x1bc'.repeat(20_000)] as const)
  const { page, terminal, notes } = await replayOf({ cols: 300, rows: 100 }, [begin, ...heavy])
  await notes.getByText('still draws').waitFor()
  await notes.getByRole('link', { name: 'Download the recording' }).waitFor()
  await page.keyboard.press('Space')
  await page.keyboard.press('0')
  await terminal.getByText('THE-DEED').first().waitFor(patient)
  await notes.waitFor({ state: 'hidden' })
  await page.close()
})

test('attack: where the player fails, the page says that the recording has more', async () => {
  const events = [[62.5, 'o', 'before'], [0.1, 'o', '\x1b[?7l👨 \x1b[?7l👨'], deed] as const
  const { page, notes } = await replayOf({ cols: 1, rows: 5 }, events, (script) => {
    const edited = script.replace('{cols:2,', '{cols:1,')
    expect(edited).not.toBe(script)
    return edited
  })
  await notes.getByText('The replay stopped at 00:02').waitFor()
  expect(await notes.innerText()).toContain('The recording has more')
  await notes.getByRole('link', { name: 'Download the recording' }).waitFor()
  await page.close()
})

test('attack: a line that cannot be read ends the replay, and the page says so', async () => {
  const events = [deed, [-1, 'o', 'before its time'], [1, 'o', 'MORE']] as const
  const { page, terminal, notes } = await replayOf({ cols: 80, rows: 24 }, events)
  await terminal.getByText('THE-DEED').first().waitFor()
  await notes.getByText('Line 3 of the recording cannot be read').waitFor()
  await page.close()
})
