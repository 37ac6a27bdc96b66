import type { Session } from '../access/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import { type Html, html, page } from '../http/index.ts'
import { formatBytes, formatDuration, formatTime } from './format.ts'

/** The list of the sessions that the person may see, newest first. */
export function sessionsPage(person: WebIdentity, sessions: readonly Session[]): Html {
  return page({
    title: 'Sessions',
    person: { name: person.user.name, detail: person.tenantSlug },
    scripts: ['/assets/times.js'],
    body: html`<h1>Sessions</h1>
<p class="lead">The sessions of <b>${person.tenantSlug}</b> that you may see, newest first.</p>
${sessions.length === 0 ? empty(person) : table(sessions)}`,
  })
}

const empty = (person: WebIdentity) => html`<section class="note">
<h1>Nothing yet</h1>
<p>The first session appears here as soon as it starts:</p>
<pre><code>ssh ${person.tenantSlug}@BASTION</code></pre>
</section>`

const table = (sessions: readonly Session[]) => html`<div class="scroll"><table>
<thead><tr><th>Started</th><th>User</th><th>Target</th><th>Command</th><th>Via</th><th>Ended</th>
<th class="number">Duration</th><th class="number">Bytes</th><th></th></tr></thead>
<tbody>
${sessions.map(row)}
</tbody></table></div>`

const row = (session: Session) => html`<tr>
<td>${formatTime(session.startedAt)}</td>
<td>${session.user}</td>
<td>${session.login}@${session.target}</td>
<td class="wide">${session.command === undefined ? session.kind : html`<code>${session.command}</code>`}</td>
<td>${session.via}</td>
<td>${formatEnd(session)}</td>
<td class="number">${formatDuration(session)}</td>
<td class="number">${formatBytes(session.bytes)}</td>
<td><a href="/sessions/${session.id}">${session.recording ? 'Replay' : 'Details'}</a></td>
</tr>\n`

/** How it ended, in a word or two. */
export function formatEnd({ live, exitStatus, exitSignal, reason }: Session): Html {
  if (live) return html`<span class="state live">live</span>`
  if (exitStatus !== null) return html`<span class="state">exit ${exitStatus}</span>`
  if (exitSignal !== null) return html`<span class="state">signal ${exitSignal}</span>`
  return html`<span class="state">${reason ?? 'unknown'}</span>`
}
