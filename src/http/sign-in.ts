import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { Headcount } from '../headcount.ts'
import { type TurnOwner, Turns } from '../turns.ts'
import { watchAnswer } from './answer-watch.ts'
import type { PageFiles } from './built-pages.ts'
import { LinkSpent, RequestAbandoned, SignInRequired, TooManyRequests } from './errors.ts'
import { html } from './html.ts'
import { passkeyOrigin } from './origin.ts'
import { page } from './page.ts'
import { wantsPage } from './problem.ts'
import { forAnybody } from './rights.ts'
import { type Visitor, visitorOf } from './visitor.ts'

/**
 * The web sessions of a listener. Tokens and cookies are opaque here, and looked up again on every
 * request.
 */
export interface WebSessions<Person> {
  /** Trades a one-time token for the cookie of a new session; undefined when it is spent or unknown. */
  redeem(token: string, visitor: Visitor): Promise<string | undefined>
  /** The person of the live session with this cookie. */
  session(cookie: string, visitor: Visitor): Promise<Person | undefined>
  /** Whether the person's session goes on, whatever its cookie is by now. */
  lives(person: Person): Promise<boolean>
  end(cookie: string, visitor: Visitor): Promise<void>
}

export interface SignInOptions<Person> {
  readonly sessions: WebSessions<Person>
  /** The cookie's name; on https it gets the prefix that binds it to this host. */
  readonly cookie: string
  readonly https: boolean
  /** The command that prints a link, for the page that asks for one. */
  readonly howTo: string
  readonly console?: string
  /** The built files that sign people in by a passkey. Without them, links are the only way on the page. */
  readonly files?: PageFiles | undefined
  /** Whose share of the work the person's requests are. */
  ownerOf(person: Person): TurnOwner
  /** The cookie that takes the place of the one that the person showed, because their rights changed. */
  renewedOf?(person: Person): string | undefined
}

/**
 * Resolves with the body. A handler that returns the reply would be at work until the last byte has left,
 * and a client that reads slowly would keep its turn.
 */
type Handler<Person> = (
  person: Person,
  request: FastifyRequest<{ Params: { id?: string } }>,
  reply: FastifyReply,
) => Promise<unknown>

type Guarded = (
  request: FastifyRequest<{ Params: { id?: string } }>,
  reply: FastifyReply,
) => Promise<unknown>

export interface SignIn<Person> {
  /** A handler that runs only for a signed-in person; it cannot be called without one. */
  guarded(handler: Handler<Person>): Guarded
  /** A handler that anybody may call: each waits until it is its address's turn. */
  open(handler: Guarded): Guarded
  /** Puts the cookie of a web session into the browser. The session that it had ends. */
  enter(request: FastifyRequest, reply: FastifyReply, cookie: string): Promise<void>
  ownerOf(person: Person): TurnOwner
  /** The sign-in page, its form, and the way out. */
  routes(app: FastifyInstance): void
}

const tokenCharactersMax = 512
/**
 * Look-ups of cookies and tokens at the same time. A stranger can invent any number of them, for any
 * tenant: so many wait in front of the database, and never beside the logins and logs of the tenant.
 */
const lookupsMax = 4
/** The same of sign-ins and sign-outs. They write to a tenant's log, and may wait for it: no look-up waits for them. */
const entriesMax = 4
/** The database's answer to a cookie or a link comes later, and costs about so much here. */
const lookupMs = 0.5
/** Requests of one person that are not answered, or whose answer has not left: each answer is memory. */
const answersMax = 32
/** Requests of signed-in people that are worked on at the same time, for the same reason. */
const requestsMax = 8

/**
 * Sign-in by one-time link.
 *
 * Opening the link shows a page with a button, and only the button spends the token: programs that
 * look at links for people, in mail and chat, do not press buttons.
 */
export function createSignIn<Person>(options: SignInOptions<Person>): SignIn<Person> {
  const { sessions, https } = options
  const name = https ? `__Host-${options.cookie}` : options.cookie
  const attributes = `Path=/; HttpOnly; SameSite=Strict${https ? '; Secure' : ''}`

  const lookUps = new Turns(lookupsMax)
  const entries = new Turns(entriesMax)
  /** One address after the other, and strangers beside those who are known. */
  const inTurn = async <T>(
    { ip, raw, server }: FastifyRequest,
    reply: FastifyReply,
    turns: Turns,
    lookUp: () => Promise<T>,
  ): Promise<T> => {
    using _turn = await turns.take(server.entrance.lookUpOwner(ip), departure(reply))
    // What is refused without the database is refused before this, and costs what was measured.
    const asked = setImmediate(() => server.entrance.charge(raw.socket, lookupMs))
    try {
      return await lookUp()
    } finally {
      clearImmediate(asked)
    }
  }
  const requestTurns = new Turns(requestsMax)
  const answers = new Headcount(answersMax)
  const cookieOf = (request: FastifyRequest) => readCookie(request.headers.cookie, name)
  const personOf = async (request: FastifyRequest, reply: FastifyReply) => {
    const cookie = cookieOf(request)
    if (cookie === undefined) return undefined
    const visitor = visitorOf(request)
    const person = await inTurn(request, reply, lookUps, () => sessions.session(cookie, visitor))
    const renewed = person && options.renewedOf?.(person)
    if (renewed !== undefined) carry(reply, renewed)
    return person
  }
  const carry = (reply: FastifyReply, cookie: string) =>
    reply.header('set-cookie', `${name}=${cookie}; ${attributes}`)
  // A browser has one session; its earlier session ends, even if it belongs to another person.
  const enter = async (request: FastifyRequest, reply: FastifyReply, cookie: string) => {
    const before = cookieOf(request)
    if (before !== undefined) await sessions.end(before, visitorOf(request))
    carry(reply, cookie)
  }
  return {
    enter,
    ownerOf: options.ownerOf,
    open: (handler) => async (request, reply) =>
      inTurn(request, reply, entries, () => handler(request, reply)),
    guarded: (handler) => async (request, reply) => {
      const person = await personOf(request, reply)
      const owner = person && options.ownerOf(person)
      request.server.entrance.recognize(request.raw.socket, owner)
      if (person !== undefined && owner !== undefined) {
        holdUntilSent(answers, `${owner.tenant} ${owner.user}`, reply)
        watchAnswer(reply.raw, () => sessions.lives(person))
        using _turn = await requestTurns.take(owner, departure(reply))
        return await handler(person, request, reply)
      }
      if (wantsPage(request)) return reply.redirect('/login', 303)
      throw new SignInRequired()
    },

    routes(app) {
      app.get<{ Querystring: { token?: unknown } }>(
        '/login',
        forAnybody,
        async (request, reply) => {
          const token = readToken(request.query.token)
          if (token === undefined && (await personOf(request, reply)) !== undefined) {
            return reply.redirect('/', 303)
          }
          const document = page({
            title: 'Sign in',
            ...(options.console === undefined ? {} : { console: options.console }),
            ...(token === undefined
              ? { body: askForProof(options), files: options.files }
              : { body: pressButton(token, options.files && passkeyOrigin(request)) }),
          })
          return reply.type('text/html; charset=utf-8').send(document.toString())
        },
      )

      app.post('/login', forAnybody, async (request, reply) => {
        const token = readToken(readField(request.body, 'token'))
        const cookie =
          token === undefined
            ? undefined
            : await inTurn(request, reply, entries, () =>
                sessions.redeem(token, visitorOf(request)),
              )
        if (cookie === undefined) throw new LinkSpent()
        await inTurn(request, reply, entries, () => enter(request, reply, cookie))
        return reply.redirect('/', 303)
      })

      app.post('/logout', forAnybody, async (request, reply) => {
        const cookie = cookieOf(request)
        const visitor = visitorOf(request)
        if (cookie !== undefined)
          await inTurn(request, reply, entries, () => sessions.end(cookie, visitor))
        reply.header('set-cookie', `${name}=; ${attributes}; Max-Age=0`)
        reply.header('clear-site-data', '"cache", "storage"')
        return reply.redirect('/login', 303)
      })
    },
  }
}

/** Counts one more answer of the user until it has left, or its reader has. Throws TooManyRequests. */
function holdUntilSent(answers: Headcount, user: string, { raw }: FastifyReply): void {
  if (!answers.enter(user)) throw new TooManyRequests(answersMax)
  if (raw.destroyed) answers.leave(user)
  else raw.once('close', () => answers.leave(user))
}

/** Aborted when the client leaves before its answer. */
function departure(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  const leave = () => controller.abort(new RequestAbandoned())
  // It may have left during an earlier wait, and is not closed a second time.
  if (reply.raw.destroyed) leave()
  else reply.raw.once('close', leave)
  return controller.signal
}

const pressButton = (token: string, elsewhere?: string) =>
  html`<div class="narrow-page"><div class="card">
<h1>Sign in</h1>
<p class="quiet">This link signs you in once, in this browser.</p>
<form method="post" action="/login">
<input type="hidden" name="token" value="${token}">
<button class="strong big" autofocus>Sign in</button>
</form>${
    elsewhere &&
    html`
<p class="help">To use passkeys, <a href="${elsewhere}/login?token=${token}">open this link at localhost</a>: browsers tie
them to a name, and this address has none.</p>`
  }</div>
<p class="help">Everything that you do here is on the audit log.</p></div>`

const askForProof = ({ files, howTo }: Pick<SignInOptions<unknown>, 'files' | 'howTo'>) =>
  html`<div class="narrow-page"><div class="card">
<h1>Sign in</h1>
${files && html`<div id="app"></div>\n`}${askForLink(howTo, files !== undefined)}</div>
<p class="help">Everything that you do here is on the audit log.</p></div>`

const askForLink = (howTo: string, isSecondWay: boolean) => {
  const line = html`<div class="code"><div><span>This prints it</span></div><pre><code>${howTo}</code></pre></div>`
  return isSecondWay
    ? html`<details class="more"><summary>No passkey yet, or it is lost</summary>
<p class="quiet">A one-time link signs you in. Ask your operator for one.</p>
${line}</details>
<noscript><p class="notice">A passkey needs JavaScript.</p></noscript>`
    : html`<p class="quiet">Signing in takes a one-time link. Ask your operator for one.</p>
${line}`
}

/** A token as we make them: anything else is not looked up, and not put on a page. */
function readToken(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length > tokenCharactersMax) return undefined
  return /^[\w.~-]+$/.test(value) ? value : undefined
}

function readField(body: unknown, name: string): string | undefined {
  return body instanceof URLSearchParams ? (body.get(name) ?? undefined) : undefined
}

/**
 * RFC 6265 section 5.4. If two cookies have one name, neither counts: one may have been planted.
 */
function readCookie(header: string | undefined, name: string): string | undefined {
  const values = (header ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1))
  const [value] = values
  return values.length === 1 && value !== undefined && /^[\w.~-]{1,512}$/.test(value)
    ? value
    : undefined
}
