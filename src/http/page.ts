import { type Html, html } from './html.ts'

/** One page of the portal or the admin console. */
export interface Page {
  readonly title: string
  /** The name of the console, beside the product's name. */
  readonly console?: string
  /** The signed-in person, and the way to sign out; undefined before that. */
  readonly person?: { readonly name: string; readonly detail: string }
  readonly body: Html
  /** Browser modules, by their address here. */
  readonly scripts?: readonly string[]
  readonly styles?: readonly string[]
}

/** The whole document. Its look is one stylesheet; it needs no script. */
export function page({ title, console, person, body, scripts = [], styles = [] }: Page): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${title} · VaultTerm${console === undefined ? undefined : ` ${console}`}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
${[...styles, '/assets/style.css'].map((href) => html`<link rel="stylesheet" href="${href}">\n`)}
${scripts.map((src) => html`<script type="module" src="${src}"></script>\n`)}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="bar">
<a class="mark" href="/"><img src="/assets/icon.svg" alt="" width="22" height="22"> VaultTerm</a>
${console === undefined ? undefined : html`<span class="console">${console}</span>`}
${
  person === undefined
    ? undefined
    : html`<div class="person"><span><b>${person.name}</b> <span class="quiet">${person.detail}</span></span>
<form method="post" action="/logout"><button class="plain">Sign out</button></form></div>`
}
</header>
<main id="main">
${body}
</main>
</body>
</html>
`
}
