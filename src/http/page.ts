import type { PageFiles } from './built-pages.ts'
import { type Html, html } from './html.ts'
import { look } from './look.ts'

/** One page of the portal or the admin console. */
export interface Page {
  readonly title: string
  /** The name of the console, beside the product's name. */
  readonly console?: string
  /** The signed-in person, and the way to sign out; undefined before that. */
  readonly person?: { readonly name: string; readonly detail: string }
  /** The pages of the signed-in person; the one that is shown is current. */
  readonly nav?: readonly { readonly href: string; readonly label: string; current?: boolean }[]
  readonly body: Html
  /** The built files that make the page live. Without them it needs no script. */
  readonly files?: PageFiles | undefined
}

/** The whole document. */
export function page(page: Page): Html {
  const { title, console, body, files } = page
  return html`<!doctype html>
<html lang="en"${console === undefined ? undefined : html` class="admin"`}>
<head>
<meta charset="utf-8">
<title>${title} · VaultTerm${console === undefined ? undefined : ` ${console}`}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="${look.icon.path}" type="image/svg+xml">
<link rel="stylesheet" href="${look.style.path}">
${files && filesOf(files)}</head>
<body>
<a class="skip" href="#main">Skip to the page</a>
${console === undefined ? bar(page) : band(page)}
<main id="main">
${body}
</main>
</body>
</html>
`
}

const filesOf = ({ script, preloads, styles }: PageFiles) => [
  ...styles.map((href) => html`<link rel="stylesheet" href="${href}">\n`),
  ...preloads.map((href) => html`<link rel="modulepreload" href="${href}">\n`),
  html`<script type="module" src="${script}"></script>\n`,
]

const mark = html`<a class="mark" href="/"><img src="${look.icon.path}" alt="" width="24" height="24"> VaultTerm</a>`

const bar = ({ person, nav }: Page) => html`<header class="bar">${mark}
${person && html`<span class="tenant">${person.detail}</span>`}
${nav && html`<nav class="nav" aria-label="Main">${links(nav)}</nav>`}
${person && menu(person.name)}</header>`

/** The console is seen at once to be another place. */
const band = ({ console, person, nav }: Page) => html`<header class="band">${mark}
<strong>${console}</strong>${person && menu(`${person.name}, ${person.detail}`)}</header>
<nav class="rail" aria-label="Main">${nav && links(nav)}</nav>`

const links = (nav: NonNullable<Page['nav']>) =>
  nav.map(
    ({ href, label, current }) =>
      html`<a href="${href}"${current ? html` aria-current="page"` : undefined}>${label}</a>`,
  )

const menu = (name: string) => html`<details class="person end"><summary>${name}</summary>
<div class="menu"><form method="post" action="/logout"><button>Sign out</button></form></div></details>`
