import type { Browser, CDPSession, Page } from 'playwright-core'

interface Answer {
  readonly status: number
  readonly body: { readonly [name: string]: unknown }
}

/** A passkey's answer as the browser writes it, for a test to send or to change. */
export interface PasskeyAnswer {
  readonly id: string
  readonly response: { [name: string]: unknown }
}

/** A browser with a security key of its own, on a page of one listener. */
export class PasskeyPage {
  readonly page: Page
  readonly #cdp: CDPSession
  readonly #authenticator: string
  readonly #base: string

  private constructor(page: Page, cdp: CDPSession, authenticator: string, base: string) {
    this.page = page
    this.#cdp = cdp
    this.#authenticator = authenticator
    this.#base = base
  }

  /** Opens `url` in a browser without cookies. `base` is the API's: `/api/v1`. */
  static async open(browser: Browser, url: string, base = '/api/v1'): Promise<PasskeyPage> {
    const page = await (await browser.newContext()).newPage()
    await page.goto(url)
    const cdp = await page.context().newCDPSession(page)
    await cdp.send('WebAuthn.enable')
    const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
      options: {
        protocol: 'ctap2',
        transport: 'internal',
        hasResidentKey: true,
        hasUserVerification: true,
        isUserVerified: true,
        automaticPresenceSimulation: true,
      },
    })
    return new PasskeyPage(page, cdp, authenticatorId, base)
  }

  /** Signs in by a one-time link. */
  async enter(token: string): Promise<void> {
    await this.page.goto(`${new URL(this.page.url()).origin}/login?token=${token}`)
    await this.page.getByRole('button', { name: 'Sign in' }).click()
    await this.page.waitForURL((url) => url.pathname === '/')
  }

  /** Whether the key asks its holder for a finger or a PIN. */
  async verifies(isUserVerified: boolean): Promise<void> {
    const authenticatorId = this.#authenticator
    await this.#cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified })
  }

  /** A request of the page itself, with its cookies. */
  ask(method: string, path: string, body?: object): Promise<Answer> {
    return this.page.evaluate(
      async ([method, url, body]) => {
        const headers = { 'content-type': 'application/json' }
        const init = body === undefined ? { method } : { method, headers, body }
        const answer = await fetch(url, init)
        const text = await answer.text()
        return { status: answer.status, body: text === '' ? {} : JSON.parse(text) }
      },
      [method, `${this.#base}${path}`, body && JSON.stringify(body)] as const,
    )
  }

  /** A new passkey of the browser's key, as these options ask for it. */
  create(options: object): Promise<PasskeyAnswer> {
    return this.#call('create', 'parseCreationOptionsFromJSON', options)
  }

  /** The proof of a passkey of the browser's key. */
  get(options: object): Promise<PasskeyAnswer> {
    return this.#call('get', 'parseRequestOptionsFromJSON', options)
  }

  /** Adds a passkey, as a page would. */
  async addPasskey(name: string): Promise<Answer> {
    const options = await this.ask('POST', '/self/passkeys/options', {})
    if (options.status !== 200) return options
    const answer = await this.create(options.body)
    return this.ask('POST', '/self/passkeys', { name, answer })
  }

  async signIn(): Promise<Answer> {
    const options = await this.ask('POST', '/sign-in/passkey/options', {})
    if (options.status !== 200) return options
    return this.ask('POST', '/sign-in/passkey', { answer: await this.get(options.body) })
  }

  async stepUp(purpose: string): Promise<Answer> {
    const options = await this.ask('POST', '/self/step-up/passkey/options', { purpose })
    if (options.status !== 200) return options
    const answer = await this.get(options.body)
    return this.ask('POST', '/self/step-up/passkey', { purpose, answer })
  }

  /** As text: these names are the browser's. */
  #call(act: string, parse: string, options: object): Promise<PasskeyAnswer> {
    return this.page.evaluate(`(async () => {
      const publicKey = PublicKeyCredential.${parse}(${JSON.stringify(options)})
      return (await navigator.credentials.${act}({ publicKey })).toJSON()
    })()`)
  }
}
