import { afterAll, beforeAll, expect, test } from 'vitest'
import { userPrincipal } from '../../src/ca/principal.ts'
import { parseCertificate } from '../../src/ssh/index.ts'
import { actor } from '../access/access-fixture.ts'
import { openBrowser } from '../support/browser.ts'
import { PasskeyPage } from '../support/passkey-page.ts'
import { listenByName, openLocalPortalFixture } from './portal-fixture.ts'

/** How a person changes their ways in on the page, in Chromium with a security key of its own. */
const fixture = await openLocalPortalFixture()
const { auth, portal } = fixture
const place = await fixture.place()
let browser: Awaited<ReturnType<typeof openBrowser>>
let portalUrl = ''
beforeAll(async () => {
  browser = await openBrowser()
  portalUrl = await listenByName(portal)
})
afterAll(() => browser?.close())

let people = 0
const publicKey =
  'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH desk'

/** The page of a new member who has just signed in by a link. */
async function openNewcomer() {
  const name = `user-${people++}`
  const { user } = await place.person(name, 'member')
  const keys = await PasskeyPage.open(browser, `${portalUrl}/login`)
  await keys.enter((await auth.createLoginLink(place.tenant, name, actor)).token)
  const { page } = keys
  await page.goto(`${portalUrl}/settings/security`)
  return { page, name, user, [Symbol.asyncDispose]: () => page.context().close() }
}

type Opened = Awaited<ReturnType<typeof openNewcomer>>['page']

async function addPasskey(page: Opened, name: string): Promise<void> {
  await page.getByRole('button', { name: 'Add a passkey' }).click()
  await page.getByRole('dialog').getByLabel('Name').fill(name)
  await page.getByRole('button', { name: 'Make the passkey' }).click()
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  await page.getByText(`${name} was added.`).waitFor()
}

const events = async (type: string, user: string) =>
  (await place.events()).filter((one) => one.type === type && one.public.user === user)

test('somebody who came by a link adds a passkey, signs out, and signs in with it on the page', async () => {
  await using opened = await openNewcomer()
  const { page, user } = opened
  await page.goto(`${portalUrl}/`)
  await page.getByRole('link', { name: 'Add a passkey' }).click()
  await page.getByText('You have no passkey yet.').waitFor()
  await addPasskey(page, 'laptop')
  await page.getByText('One passkey is one accident away from none.').waitFor()
  await page.getByText(opened.name, { exact: true }).click()
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
  await page.waitForURL((url) => url.pathname === '/')
  await page.getByRole('heading', { name: 'You cannot open a target yet.' }).waitFor()
  expect(await page.getByText('Sign in without a link next time.').count()).toBe(0)
  expect((await events('web.login', user.id)).map((one) => one.public.proof)).toEqual([
    'link',
    'passkey',
  ])
})

test('an SSH key is added after one confirmation, and a second one without another', async () => {
  await using opened = await openNewcomer()
  const { page, user } = opened
  await addPasskey(page, 'laptop')
  await page.getByRole('button', { name: 'Add an SSH key' }).click()
  await page.getByRole('dialog').getByLabel('Public key').fill(`${publicKey}\n`)
  await page.getByLabel('Name').fill('at my desk')
  await page.getByRole('button', { name: 'Add the key' }).click()
  // The form is behind it: only one dialog is seen.
  await page.getByRole('heading', { name: 'Confirm that it is you' }).waitFor()
  expect(await page.getByRole('heading', { name: 'Add an SSH key' }).isVisible()).toBe(false)
  await page.getByRole('button', { name: 'Confirm with your passkey' }).click()
  await page.getByText('at my desk was added.').waitFor()
  await page.locator('#ssh-keys tbody tr', { hasText: 'at my desk' }).waitFor()
  await page.getByRole('button', { name: 'Remove at my desk' }).click()
  await page.getByRole('button', { name: 'Remove the key' }).click()
  await page.getByText('at my desk was removed.').waitFor()
  const added = await events('key.add', user.id)
  expect(added.at(-1)).toMatchObject({ public: { actor: user.id, stepUp: 'passkey' } })
})

test('a key is certified for some hours without being registered, and the certificate is of this person', async () => {
  await using opened = await openNewcomer()
  const { page, user } = opened
  await addPasskey(page, 'laptop')
  await page.getByText('Only for today: a certificate').click()
  const form = page.locator('form', { hasText: 'Certify the key' })
  await form.getByLabel('Public key').fill('-----BEGIN OPENSSH PRIVATE KEY-----')
  await form.getByRole('button', { name: 'Certify the key' }).click()
  await form.getByText('This is a private key.').waitFor()
  expect(await form.getByLabel('Public key').inputValue()).toBe('')
  await form.getByLabel('Public key').fill(publicKey)
  await form.getByLabel('For', { exact: true }).selectOption('1 hour')
  await form.getByRole('button', { name: 'Certify the key' }).click()
  await page.getByRole('button', { name: 'Confirm with your passkey' }).click()
  const line = await page.locator('#ssh-keys pre code').textContent()
  const blob = Buffer.from(line?.split(' ')[1] ?? '', 'base64')
  const parsed = parseCertificate(blob)
  if ('problem' in parsed) throw new Error(parsed.problem)
  const { principals, validAfter, validBefore } = parsed.certificate
  expect(principals).toEqual([userPrincipal(user.id)])
  // Clocks differ by half a minute.
  expect(Number(validBefore - validAfter)).toBe(3600 + 30)
  const [issued] = await events('cert.issue', user.id)
  expect(issued).toMatchObject({ public: { purpose: 'login', actor: user.id, stepUp: 'passkey' } })

  const { serial, generation } = issued?.public ?? {}
  const row = page.locator(`[data-certificate="${serial}"]`)
  await row.getByText(String(issued?.public.fingerprint)).waitFor()
  await page.getByText('(1 valid now)').waitFor()
  await row.getByRole('button', { name: `Revoke No. ${serial}` }).click()
  await page.getByText(`Certificate no. ${serial} was revoked: it lets nobody in.`).waitFor()
  await row.waitFor({ state: 'detached' })
  const revoked = (await place.events()).filter(
    (one) => one.type === 'cert.revoke' && one.public.actor === user.id,
  )
  expect(revoked).toMatchObject([
    { public: { certKind: 'user', serial, generation, stepUp: 'passkey' } },
  ])
})

test('who closes the confirmation has changed nothing, and finds the form as it was', async () => {
  await using opened = await openNewcomer()
  const { page } = opened
  await addPasskey(page, 'laptop')
  await page.getByRole('button', { name: 'Add an SSH key' }).click()
  await page.getByRole('dialog').getByLabel('Public key').fill(publicKey)
  await page.getByRole('button', { name: 'Add the key' }).click()
  await page.getByRole('heading', { name: 'Confirm that it is you' }).waitFor()
  await page.keyboard.press('Escape')
  await page.getByText('Not done: you did not confirm.').waitFor()
  expect(await page.getByRole('dialog').getByLabel('Public key').inputValue()).toBe(publicKey)
  await page.getByRole('button', { name: 'Cancel' }).click()
  expect(await page.locator('#ssh-keys tbody tr', { hasText: 'desk' }).count()).toBe(0)
})

test('attack: a private key that somebody pastes or drops by mistake does not leave the browser', async () => {
  await using opened = await openNewcomer()
  const { page } = opened
  const sent: string[] = []
  page.on('request', (request) => sent.push(`${request.method()} ${request.postData() ?? ''}`))
  await page.getByRole('button', { name: 'Add an SSH key' }).click()
  const field = page.getByRole('dialog').getByLabel('Public key')
  const secrets = [
    '-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n',
    '-----BEGIN RSA PRIVATE KEY-----',
    'b3BlbnNzaC1rZXktdjEAAAAABG5vbmU',
    `${publicKey}\n-----BEGIN OPENSSH PRIVATE KEY-----`,
  ]
  for (const secret of secrets) {
    await field.fill(secret)
    await page.getByRole('button', { name: 'Add the key' }).click()
    await page.getByText('This is a private key.').waitFor()
    expect(await field.inputValue()).toBe('')
  }
  const buffer = Buffer.from(secrets[0] ?? '')
  await page
    .getByLabel('Choose a .pub file')
    .setInputFiles({ name: 'id_ed25519', mimeType: 'text/plain', buffer })
  await page.getByText('This is a private key.').waitFor()
  expect(await field.inputValue()).toBe('')
  for (const [text, problem] of [
    ['', 'Paste the line of your public key.'],
    ['PuTTY-User-Key-File-3: ssh-ed25519', 'in the form of PuTTY'],
    [`${publicKey}\n${publicKey}`, 'several lines'],
    ['MIIEvQIBADANBgkqhkiG9w0BAQEFAASC', 'This is not a public key'],
  ] as const) {
    await field.fill(text)
    await page.getByRole('button', { name: 'Add the key' }).click()
    await page.getByText(problem).waitFor()
    // A key of PuTTY has its private half in it, and so may any other text.
    expect(await field.inputValue()).toBe(problem === 'several lines' ? text : '')
  }
  // As text: these names are the browser's.
  await page.evaluate(`{
    const data = new DataTransfer()
    data.items.add(new File([${JSON.stringify(secrets[0])}], 'id_ed25519'))
    const drop = new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })
    document.getElementById('key-line').dispatchEvent(drop)
  }`)
  await page.getByText('This is a private key.').waitFor()
  expect(await field.inputValue()).toBe('')
  expect(sent.filter((one) => one.startsWith('POST'))).toEqual([])
})

test('what the server refuses is said in its words, and the form stays', async () => {
  await using opened = await openNewcomer()
  const { page } = opened
  await page.getByRole('button', { name: 'Add an SSH key' }).click()
  await page.getByRole('dialog').getByLabel('Public key').fill(publicKey)
  await page.getByRole('button', { name: 'Add the key' }).click()
  // Without a passkey nothing can be confirmed.
  await page.getByText('add one first').waitFor()
  expect(await page.getByRole('dialog').getByLabel('Public key').inputValue()).toBe(publicKey)
})

test('the last passkey is removed only by who is told what that means', async () => {
  await using opened = await openNewcomer()
  const { page, user } = opened
  await addPasskey(page, 'laptop')
  await page.getByRole('button', { name: 'Remove laptop' }).click()
  await page.getByText('This is your last passkey.').waitFor()
  await page.getByRole('button', { name: 'Remove the passkey' }).click()
  await page.getByRole('button', { name: 'Confirm with your passkey' }).click()
  await page.getByText('You have no passkey yet.').waitFor()
  expect(await events('factor.remove', user.id)).toHaveLength(1)
})

test('the browsers of a person are signed out one by one, or all but this', async () => {
  await using opened = await openNewcomer()
  const { page, name } = opened
  for (let i = 0; i < 3; i++) await fixture.signIn(place, name)
  await page.reload()
  const rows = page.locator('#signed-in tbody tr')
  await expect.poll(() => rows.count()).toBe(4)
  await rows
    .getByRole('button', { name: /^Sign out/ })
    .first()
    .click()
  await expect.poll(() => rows.count()).toBe(3)
  await page.getByRole('button', { name: 'Sign out everywhere else' }).click()
  await page.getByText('2 other browsers were signed out.').waitFor()
  await expect.poll(() => rows.count()).toBe(1)
  await page.getByText('this one, by a link').waitFor()
})

test('who opens a link by the address of this machine is led to its name, where passkeys work', async () => {
  const name = `user-${people++}`
  await place.person(name, 'member')
  const { token } = await auth.createLoginLink(place.tenant, name, actor)
  const page = await (await browser.newContext()).newPage()
  const byAddress = portalUrl.replace('localhost', '127.0.0.1')
  await page.goto(`${byAddress}/login`)
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  expect(await page.getByRole('button', { name: 'Sign in with a passkey' }).count()).toBe(0)
  await page.goto(`${byAddress}/login?token=${token}`)
  await page.getByRole('link', { name: 'open this link at localhost' }).click()
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('Sign in without a link next time.').waitFor()
  expect(page.url()).toBe(`${portalUrl}/`)
  // The link was used once.
  await page.goto(`${byAddress}/login?token=${token}`)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText('ERR_LINK_SPENT').waitFor()
  const { token: second } = await auth.createLoginLink(place.tenant, name, actor)
  await page.goto(`${byAddress}/login?token=${second}`)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.waitForURL((url) => url.pathname === '/')
  await page.goto(`${byAddress}/settings/security`)
  await page.getByText(`Passkeys work at ${portalUrl} only.`).waitFor()
  await page.context().close()
})
