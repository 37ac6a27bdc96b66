import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { outputBytes, parseCast } from '../../src/recorder/index.ts'
import { Writer } from '../../src/ssh/index.ts'
import { openBrowser } from '../support/browser.ts'
import { addTarget, eventually, newestEnded, sessions } from '../support/installation.ts'
import { enter, execRequest, outcomeOf } from '../support/intruder.ts'
import { channelMsg, forChannel, openChannel } from '../support/ssh-lab.ts'
import { givesTerminals, Sshd } from '../support/sshd.ts'
import { VaultTerm } from '../support/vaultterm.ts'

/** Text that a terminal or a page would obey, from a target and from a user, wherever it is shown. */
let vaultterm: VaultTerm
let sshd: Sshd
let browser: Awaited<ReturnType<typeof openBrowser>>
beforeAll(async () => {
  sshd = await Sshd.start()
  const banner = join(sshd.directory, 'banner')
  writeFileSync(banner, 'EVIL BANNER \x1b]0;EVIL\x07: type your password\n')
  sshd.settings.push(`Banner ${banner}`)
  await sshd.down()
  await sshd.up()
  vaultterm = await VaultTerm.start({ VAULTTERM_LOG: 'debug' })
  await addTarget(vaultterm, sshd)
  browser = await openBrowser()
})
afterAll(async () => {
  await browser?.close()
  await vaultterm?.close()
  await sshd?.close()
})

/** What terminals do for whoever writes to them: clipboard, title, reports, links, fonts, pictures. */
const escapes = [
  '\x1b]52;c;RVZJTA==\x07',
  '\x1b]0;EVIL\x07\x1b[21t',
  '\x1bP$qm\x1b\\',
  '\x1b]50;?\x07',
  '\x1b[c\x1b[>c\x1b[6n',
  '\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\',
  '\x1bPq#0;2;0;0;0#0~~@@vv\x1b\\',
  '\x1b_Gf=24;EVIL\x1b\\',
  '\x9b31m\x9d0;EVIL\x9c',
  '\xff\xfe\xc3(\xed\xa0\x80\0',
].map((text) => Buffer.from(text, 'latin1'))

const printf = (bytes: Buffer) =>
  `printf '${[...bytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')}'`

async function recordingOf(session: string) {
  const { stdout } = await vaultterm.cli(['session', 'export', session])
  return { text: stdout, cast: parseCast(stdout) }
}

const lastSession = async () => (await newestEnded(vaultterm)).id

describe('TE-02: what a target says', () => {
  test('reaches the user as it is, and is kept as it is', async () => {
    const all = Buffer.concat(escapes)
    const attacker = await enter(vaultterm, 'acme+real')
    attacker.send(openChannel(0), execRequest(0, printf(all)))
    await attacker.until(() => (outcomeOf(attacker, 0).closed ? true : undefined))
    expect(outcomeOf(attacker, 0).output).toEqual(all)
    attacker.end()
    await attacker.closed
    const { text, cast } = await recordingOf(await lastSession())
    expect(outputBytes(cast.events)).toEqual(all)
    // The file itself is safe to look at.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
    expect(text).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f]/)
  })
})

describe('TE-07: a target that speaks as if it were the bastion', () => {
  test('shows its users no banner', async () => {
    const { stdout, stderr, code } = await vaultterm.ssh(['acme+real', 'echo', 'well'])
    expect([stdout, code]).toEqual(['well\n', 0])
    expect(stderr).not.toContain('EVIL')
  })

  test('which sshd does send (control)', async () => {
    const { stderr } = await vaultterm.ssh([
      ...['-F', 'none', '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no'],
      ...['-o', 'UserKnownHostsFile=/dev/null', '-p', String(sshd.port), sshd.host, 'true'],
    ])
    expect(stderr).toContain('EVIL')
  })
})

describe.runIf(givesTerminals)('TE-08: what is hidden from who watches', () => {
  test.each([
    ['overwritten', "printf 'hidden\\r\\033[2Kinnocent\\n'"],
    ['on the other screen', "printf '\\033[?1049hhidden\\033[?1049linnocent\\n'"],
    ['without colour', "printf '\\033[8mhidden\\033[0minnocent\\n'"],
  ])('%s, is in the recording', async (_, command) => {
    await vaultterm.ssh(['-tt', 'acme+real', command])
    const { cast } = await recordingOf(await lastSession())
    expect(outputBytes(cast.events).toString()).toContain('hidden')
  })

  test('in a command, is on record as the command', async () => {
    const command = 'echo aGlkZGVu | base64 -d'
    await vaultterm.ssh(['acme+real', command])
    const shown = await vaultterm.json<{ command: string }>('session', 'show', await lastSession())
    expect(shown.command).toBe(command)
  })
})

describe('TE-05: the log', () => {
  const hostile = '\r\n{"level":"fatal","msg":"FORGED"}\n\x1b[2J\x9b\u2028\u202e\ud800"},'

  test('has an event a line, whatever is in it', async () => {
    vaultterm.stderr = ''
    const ident = `SSH-2.0-evil${'\x1b[2J'}","msg":"FORGED`
    const attacker = await enter(vaultterm, 'acme+real', ident)
    for (const type of [hostile, 'x'.repeat(30_000), '\x1b]0;EVIL\x07', '","msg":"FORGED']) {
      const fields = new Writer().u32(0).u32(65_536).u32(32_768).build()
      attacker.send(new Writer().u8(channelMsg.open).text(type).bytes(fields).build())
    }
    attacker.send(openChannel(1), execRequest(0, `true '${hostile.repeat(100)}'`))
    await attacker.until(() => (outcomeOf(attacker, 1).closed ? true : undefined))
    // What breaks the protocol is logged too.
    attacker.send(Buffer.from(`\xff${hostile}`))
    await attacker.closed
    const stranger = connect(Number(vaultterm.sshPort), '127.0.0.1')
    stranger.end(`GET /${hostile} HTTP/1.1\r\n\r\n${'x'.repeat(2000)}\r\n`)
    await once(stranger.resume(), 'close')
    await vaultterm.ssh(['acme+real', '-W', 'evil\x1b[2J:22'])
    const lines = await eventually(() => {
      const all = vaultterm.stderr.split('\n').slice(0, -1)
      return all.length > 4 ? all : undefined
    }, 'what is logged of it')
    for (const line of lines) {
      const event = JSON.parse(line)
      expect(event).toMatchObject({ level: expect.any(String), time: expect.any(String) })
      expect(event.msg).not.toBe('FORGED')
      // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point.
      expect(line).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028\u202e]/)
      expect(Buffer.byteLength(line)).toBeLessThan(8192)
    }
    expect(lines.join('\n')).toContain('channel refused')
  })
})

describe('pages', () => {
  /** Each would call it, if it were believed to be markup, a script, or an address. */
  const payloads = [
    '<script>evil()</script>',
    '"><script>evil()</script>',
    "'><img src=x onerror=evil()>",
    '<img src=x onerror="evil()">',
    '<svg onload=evil()>',
    '<svg><script>evil()</script></svg>',
    '<iframe srcdoc="<script>parent.evil()</script>">',
    '<a href="javascript:evil()" autofocus onfocus=evil()>x</a>',
    '<input autofocus onfocus=evil()>',
    '<details open ontoggle=evil()>',
    '<video><source onerror=evil()></video>',
    '<style>@import"https://evil.example/x"</style>',
    '<base href="https://evil.example/">',
    '<meta http-equiv="refresh" content="0;url=https://evil.example/">',
    '<form action="https://evil.example"><button autofocus>',
    '</title><script>evil()</script>',
    '</code></pre><script>evil()</script>',
    '<!--><script>evil()</script>-->',
    '<![CDATA[<script>evil()</script>]]>',
    '&lt;script&gt;evil()&lt;/script&gt;',
    '&#60;script&#62;evil()&#60;/script&#62;',
    '\u003cscript\u003eevil()\u003c/script\u003e',
    '%3Cscript%3Eevil()%3C/script%3E',
    '{{constructor.constructor("evil()")()}}',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is one for whoever believes it.
    '${evil()}',
    'javascript:evil()',
    'data:text/html,<script>evil()</script>',
    '<script\x00>evil()</script>',
    '<scr\u0000ipt>evil()</scr\u0000ipt>',
    '\u202e<script>evil()</script>',
    '＜script＞evil()＜/script＞',
    '+ADw-script+AD4-evil()+ADw-/script+AD4-',
    '<math><mtext></mtext><mglyph><style><img src=x onerror=evil()>',
    '<noscript><p title="</noscript><img src=x onerror=evil()>">',
    '<template><script>evil()</script></template>',
    '<object data="javascript:evil()">',
    '<embed src="javascript:evil()">',
    '<link rel=stylesheet href="https://evil.example/x.css">',
    '<marquee onstart=evil()>',
    '<body onload=evil()>',
    '<x onclick=evil() tabindex=1 autofocus onfocus=evil()>',
    '`-evil()-`',
    "'-evil()-'",
    '"-evil()-"',
    '\\"-evil()-\\"',
    '</script><script>evil()</script>',
    '<img src=`x`onerror=evil()>',
    '<img/src/onerror=evil()>',
    '<button popovertarget=x onclick=evil()>',
    '<dialog open onclose=evil()>',
    '<audio src=x onerror=evil()>',
    '<select autofocus onfocus=evil()>',
    '<textarea autofocus onfocus=evil()></textarea>',
    '<keygen autofocus onfocus=evil()>',
    '<portal src="https://evil.example">',
    '<isindex type=image src=1 onerror=evil()>',
    '<table background="javascript:evil()">',
    '<div style="background:url(javascript:evil())">',
    '<a ping="https://evil.example" href="#">x</a>',
    '<slot onslotchange=evil()><script>evil()</script>',
  ]
  expect(payloads).toHaveLength(60)

  async function signIn(url: string) {
    const page = await (await browser.newContext()).newPage()
    const seen: string[] = []
    await page.exposeFunction('evil', () => seen.push('evil() was called'))
    await page.addInitScript(
      `addEventListener('securitypolicyviolation', (event) =>
         console.error('violation ' + event.violatedDirective + ' ' + event.blockedURI))`,
    )
    page.on('dialog', (dialog) => {
      seen.push(`dialog ${dialog.message()}`)
      void dialog.dismiss()
    })
    page.on('popup', () => seen.push('popup'))
    page.on('pageerror', (err) => seen.push(err.message))
    page.on('console', (message) => {
      if (/violation|Content.Security|TrustedHTML/i.test(message.text())) seen.push(message.text())
    })
    page.on('request', (request) => {
      const { origin } = new URL(request.url())
      if (![vaultterm.ready.portal, vaultterm.ready.admin, 'null'].includes(origin)) {
        seen.push(`request ${request.url()}`)
      }
    })
    await page.goto(url)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.waitForURL((now) => !now.pathname.startsWith('/login'))
    return { page, seen }
  }
  const demoLink = async () =>
    (await vaultterm.json<{ url: string }>('web-login', 'acme', 'demo')).url

  test('TE-04: show markup as text, wherever it came in', async () => {
    const attacker = await enter(vaultterm, 'acme+real', `SSH-2.0-${payloads[0]}`)
    for (const [index, payload] of payloads.entries()) {
      attacker.send(openChannel(index))
      const opened = await attacker.until(
        () => attacker.received.filter(([type]) => type === channelMsg.confirmation)[index],
      )
      const theirs = opened?.readUInt32BE(5) ?? 0
      attacker.send(execRequest(theirs, `cat <<'END'\n${payload}\nEND\n`))
      await attacker.until(() => (outcomeOf(attacker, index).closed ? true : undefined))
      attacker.send(forChannel(channelMsg.close, theirs))
    }
    attacker.end()
    await attacker.closed
    await vaultterm.json('user', 'add', 'acme', 'other', '--email', 'a@b.example')
    const { page, seen } = await signIn(await demoLink())
    const all = (await sessions(vaultterm)).slice(0, payloads.length)
    for (const path of [
      '/',
      '/sessions',
      '/plain/sessions',
      ...all.map(({ id }) => `/sessions/${id}`),
    ]) {
      await page.goto(`${vaultterm.ready.portal}${path}`)
      await page.locator('main :is(tbody tr, .facts)').first().waitFor()
      const own = 'form:not(.filters)'
      const elements = `script, iframe, object, embed, base, style, link, img, video, ${own}`
      const markup = await page.locator(`main :is(${elements})`).count()
      expect(markup, path).toBe(0)
    }
    await page.getByText('END').first().waitFor()
    expect(seen).toEqual([])
    const { url } = await vaultterm.json<{ url: string }>('web-login', '--admin', 'root')
    const admin = await signIn(url)
    await admin.page.getByRole('heading', { name: 'Overview' }).waitFor()
    expect(admin.seen).toEqual([])
  })

  test('TE-04: a page that believed it would be found out (control)', async () => {
    const { page, seen } = await signIn(await demoLink())
    await page.evaluate(
      `const image = document.createElement('img')
       image.src = 'https://evil.example/x'
       document.body.append(image)`,
    )
    const markup = page.evaluate('document.body.insertAdjacentHTML("beforeend", "<b>")')
    await expect(markup).rejects.toThrow('TrustedHTML')
    await eventually(() => (seen.length > 1 ? true : undefined), 'what was seen')
    expect(seen.join()).toMatch(/violation/)
  })

  test.runIf(givesTerminals)(
    'TE-03: a terminal of no size is replayed in one of the usual size',
    async () => {
      await vaultterm.ssh(['-tt', 'acme+real', 'echo shown'])
      const { cast } = await recordingOf(await lastSession())
      expect(cast.header.term).toMatchObject({ cols: 80, rows: 24 })
    },
  )

  test.runIf(givesTerminals)(
    'TE-03: a replay sets no title and no cookie, opens nothing, and has no clipboard',
    async () => {
      const all = Buffer.concat([...escapes, Buffer.from('\r\nthe end of it\r\n')])
      await vaultterm.ssh(['-tt', 'acme+real', printf(all)])
      const session = await lastSession()
      const { page, seen } = await signIn(await demoLink())
      await page.goto(`${vaultterm.ready.portal}/sessions/${session}`)
      const title = await page.title()
      const cookies = await page.context().cookies()
      const player = page.locator('.ap-player')
      await player.waitFor()
      await player.click()
      await page.keyboard.press('End')
      await player.getByText('the end of it').first().waitFor({ timeout: 60_000 })
      expect(await page.title()).toBe(title)
      expect(await page.context().cookies()).toEqual(cookies)
      expect(await page.locator('a[href*="evil"]').count()).toBe(0)
      expect(seen).toEqual([])
      // Not even its own scripts may.
      const copied = page.evaluate('navigator.clipboard.writeText("x").then(() => "copied")')
      await expect(copied).rejects.toThrow(/NotAllowed|permissions policy/i)
    },
  )
})
