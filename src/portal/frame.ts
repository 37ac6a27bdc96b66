import type { WebIdentity } from '../auth/index.ts'
import { type Html, html, type PageFiles, page } from '../http/index.ts'

/** A page of a signed-in person: which of the main pages it belongs to, and what is on it. */
export interface PortalPage {
  readonly title: string
  readonly of: 'targets' | 'sessions' | 'settings'
  readonly body: Html
  readonly files?: PageFiles | undefined
}

const nav = [
  { of: 'targets', href: '/', label: 'Targets' },
  { of: 'sessions', href: '/sessions', label: 'Sessions' },
  { of: 'settings', href: '/settings/security', label: 'Settings' },
] as const

export function portalPage(person: WebIdentity, { title, of, body, files }: PortalPage): Html {
  return page({
    title,
    person: { name: person.user.name, detail: person.tenantSlug },
    nav: nav.map((entry) => ({ ...entry, current: entry.of === of })),
    body,
    files,
  })
}

/**
 * The place of a page that is built for browsers, with what it must know of the person. Without JavaScript
 * the same is at the plain address.
 */
export function place(
  facts: { readonly [name: string]: string },
  { title, plain }: { readonly title: string; readonly plain: string },
): Html {
  const data = Object.entries(facts).map(([name, value]) => html` data-${name}="${value}"`)
  return html`<div id="app"${data}><noscript>
<h1>${title}</h1>
<div class="notice"><p>This page needs JavaScript. <a href="${plain}">The plain page</a> works without it.</p></div>
</noscript></div>`
}
