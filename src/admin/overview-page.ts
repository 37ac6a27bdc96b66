import type { WebIdentity } from '../auth/index.ts'
import { type CheckReport, cell, type Html, html, listRow, listTable, page } from '../http/index.ts'
import type { Tenant } from '../tenant/index.ts'
import type { VaultStatus } from '../vault/index.ts'

/** The first page of an administrator: health, the state of the vault, the tenants. */
export function overviewPage(
  person: WebIdentity,
  {
    tenants,
    vault,
    health,
  }: {
    readonly tenants: readonly Tenant[]
    readonly vault: VaultStatus
    readonly health: CheckReport
  },
): Html {
  const state = (isGood: boolean, word: string) =>
    html`<span class="state ${isGood ? 'good' : 'bad'}">${word}</span>`
  const light = (name: string, isGood: boolean, word: string) =>
    html`<section class="light ${isGood ? 'good' : 'bad'}"><div class="wide"><h2>${name}</h2>${state(isGood, word)}</div></section>\n`
  return page({
    title: 'Overview',
    console: 'Admin',
    person: { name: person.user.name, detail: 'administrator' },
    nav: [{ href: '/', label: 'Overview', current: true }],
    body: html`<h1>Overview</h1>
<p class="lead">${health.ready ? 'Every required service works.' : 'A required service does not work.'} Times are UTC.</p>
<div class="lights">
${light('Vault', !vault.sealed, vault.sealed ? 'sealed' : 'open')}
${Object.entries(health.checks).map(([name, { ok, code }]) => light(name, ok, ok ? 'ok' : (code ?? 'failed')))}</div>
<dl class="facts">
<div><dt>Key provider</dt><dd>${vault.provider}</dd></div>
<div><dt>Key</dt><dd><code>${vault.kekId}</code></dd></div>
</dl>
<h2>Tenants</h2>
${tenants.length === 0 ? html`<p class="quiet">None yet: <code>vaultterm tenant create SLUG</code> makes one.</p>` : table(tenants)}`,
  })
}

const table = (tenants: readonly Tenant[]) =>
  listTable(
    ['Tenant', 'Name', 'Created', 'State', 'Id'],
    tenants.map(({ id, slug, name, createdAt, suspendedAt }) =>
      listRow([
        cell(html`<b>${slug}</b>`),
        cell(name),
        cell(html`<time datetime="${createdAt}">${createdAt.slice(0, 10)}</time>`, 'Created'),
        cell(
          suspendedAt === undefined
            ? html`<span class="state good">active</span>`
            : html`<span class="state warn">suspended</span>`,
        ),
        cell(html`<code>${id}</code>`, 'Id'),
      ]),
    ),
  )
