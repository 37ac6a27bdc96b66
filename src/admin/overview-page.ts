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
  return page({
    title: 'Overview',
    console: 'Admin',
    person: { name: person.user.name, detail: 'administrator' },
    scripts: ['/assets/times.js'],
    body: html`<h1>Overview</h1>
<p class="lead">${health.ready ? 'Every required service works.' : 'A required service does not work.'}</p>
<dl class="facts">
<div><dt>Vault</dt><dd>${vault.sealed ? html`<span class="state live">sealed</span>` : 'open'}</dd></div>
<div><dt>Key provider</dt><dd>${vault.provider}</dd></div>
<div><dt>Key</dt><dd><code>${vault.kekId}</code></dd></div>
${Object.entries(health.checks).map(
  ([name, { ok, code }]) =>
    html`<div><dt>${name}</dt><dd>${ok ? 'ok' : html`<span class="state live">${code ?? 'failed'}</span>`}</dd></div>\n`,
)}</dl>
<h2>Tenants</h2>
${tenants.length === 0 ? html`<p class="quiet">None yet: <code>vaultterm tenant create SLUG</code> makes one.</p>` : table(tenants)}`,
  })
}

const table = (tenants: readonly Tenant[]) => html`<div class="scroll"><table>
<thead><tr><th>Tenant</th><th>Name</th><th>Created</th><th>State</th><th>Id</th></tr></thead>
<tbody>
${tenants.map(
  ({ id, slug, name, createdAt, suspendedAt }) => html`<tr>
<td>${slug}</td><td class="wide">${name}</td>
<td><time datetime="${createdAt}">${createdAt.slice(0, 10)}</time></td>
<td>${suspendedAt === undefined ? 'active' : html`<span class="state live">suspended</span>`}</td>
<td><code>${id}</code></td>
</tr>\n`,
)}
</tbody></table></div>`
