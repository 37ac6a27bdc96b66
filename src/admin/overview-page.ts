import type { WebIdentity } from '../auth/index.ts'
import { type CheckReport, type Html, html, page } from '../http/index.ts'
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

const table = (
  tenants: readonly Tenant[],
) => html`<div class="scroll" tabindex="0" role="region" aria-label="Tenants"><table>
<thead><tr><th scope="col">Tenant</th><th scope="col">Name</th><th scope="col">Created</th><th scope="col">State</th><th scope="col">Id</th></tr></thead>
<tbody>
${tenants.map(
  ({ id, slug, name, createdAt, suspendedAt }) => html`<tr>
<td><b>${slug}</b></td><td class="cut">${name}</td>
<td><time datetime="${createdAt}">${createdAt.slice(0, 10)}</time></td>
<td>${suspendedAt === undefined ? html`<span class="state good">active</span>` : html`<span class="state warn">suspended</span>`}</td>
<td><code>${id}</code></td>
</tr>\n`,
)}
</tbody></table></div>`
