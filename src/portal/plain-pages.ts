import type { Choice, Session } from '../access/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import { cell, type Html, html, listRow, listTable } from '../http/index.ts'
import { formatBytes, formatDuration, formatTime } from './format.ts'
import { portalPage } from './frame.ts'

/**
 * The pages without JavaScript: also for an installation whose pages were not built. They are read, and
 * have no acts.
 */

/** The targets that the person may open, each with its line. */
export function plainTargetsPage(
  person: WebIdentity,
  {
    targets,
    ssh: { host, port },
    isBuilt,
  }: {
    readonly targets: readonly Choice[]
    readonly ssh: { readonly host: string; readonly port: number }
    readonly isBuilt: boolean
  },
): Html {
  const line = (name: string) =>
    html`<code>ssh -p ${port} ${person.tenantSlug}+${name}@${host}</code>`
  const rows = targets.map(({ name, lastAt }) =>
    listRow([
      cell(html`<b>${name}</b>`),
      cell(line(name)),
      cell(lastAt === undefined ? 'never' : formatTime(lastAt), 'You last opened it'),
    ]),
  )
  return portalPage(person, {
    title: 'Targets',
    of: 'targets',
    body: html`<h1>What can I open?</h1>
<p class="lead">Targets of ${person.tenantSlug}, the ones you opened last first. Times are UTC.</p>
${notBuilt(isBuilt)}${
  targets.length === 0
    ? html`<p>You cannot open a target yet: an operator gives access with <code>vaultterm grant add</code>.</p>`
    : listTable(['Target', 'Line', 'You last opened it'], rows)
}`,
  })
}

/** The sessions that the person may see, newest first. */
export function plainSessionsPage(
  person: WebIdentity,
  { sessions, isBuilt }: { readonly sessions: readonly Session[]; readonly isBuilt: boolean },
): Html {
  const heads = ['Person and target', 'What', 'Started', 'Ended', 'Duration', 'Bytes', 'Act']
  return portalPage(person, {
    title: 'Sessions',
    of: 'sessions',
    body: html`<h1>Sessions</h1>
<p class="lead">The sessions of ${person.tenantSlug} that you may see, newest first. Times are UTC.</p>
${notBuilt(isBuilt)}${
  sessions.length === 0
    ? html`<p>No sessions yet. The first one appears here the moment it starts.</p>`
    : listTable(heads, sessions.map(row))
}`,
  })
}

/** One session, and its recording to download. */
export function plainSessionPage(
  person: WebIdentity,
  { session, isBuilt }: { readonly session: Session; readonly isBuilt: boolean },
): Html {
  const recording = `/api/v1/sessions/${session.id}/recording.cast`
  const fact = (name: string, value: Html | string) =>
    html`<div><dt>${name}</dt><dd>${value}</dd></div>\n`
  return portalPage(person, {
    title: `${session.user} on ${session.target}`,
    of: 'sessions',
    body: html`<p class="crumb"><a href="/plain/sessions">← Sessions</a></p>
<h1>${session.user} on ${session.login}@${session.target}</h1>
${notBuilt(isBuilt)}${
  session.command === undefined
    ? undefined
    : html`<pre class="command"><code>${session.command}</code></pre>`
}${
  session.recordingIntact === false
    ? html`<div class="notice bad"><p>This recording was changed while it was written: it is no evidence.</p></div>`
    : undefined
}<dl class="facts">
${fact('Started', formatTime(session.startedAt))}${fact('Duration', formatDuration(session))}${fact('Ended', formatEnd(session))}
${session.killReason === null ? undefined : fact('Because', session.killReason)}
${fact('Kind', session.kind)}${fact('Way', session.via)}${fact('Bytes', formatBytes(session.bytes))}${fact('From', session.source)}
${fact('Session', html`<code>${session.id}</code>`)}</dl>
${
  session.recording
    ? html`<p><a class="button" href="${recording}" download>Download .cast</a></p>
<p class="quiet">Play it with <code>asciinema play</code>, version 3.</p>`
    : html`<p>There is no recording of this session.</p>`
}`,
  })
}

/** How a person's ways in are changed without JavaScript: by somebody else. */
export function plainSecurityPage(
  person: WebIdentity,
  { isBuilt }: { readonly isBuilt: boolean },
): Html {
  const { tenantSlug, user } = person
  return portalPage(person, {
    title: 'Security and keys',
    of: 'settings',
    body: html`<h1>Security and keys</h1>
<p class="lead">How you prove that you are ${user.name}.</p>
${notBuilt(isBuilt)}<p>Passkeys need JavaScript, and a change of your SSH keys needs a passkey. An operator lists and adds your keys:</p>
<div class="code"><div><span>For an operator</span></div><pre><code>vaultterm key list ${tenantSlug} ${user.name}
vaultterm key add ${tenantSlug} ${user.name} KEY.pub</code></pre></div>`,
  })
}

const notBuilt = (isBuilt: boolean) =>
  isBuilt
    ? undefined
    : html`<div class="notice warn"><p><b>The pages of this installation were not built.</b> These plain ones work, and so does
SSH. An operator finds the reason in the output of <code>bin/run build</code>.</p></div>`

const row = (session: Session) =>
  listRow([
    cell(html`<b>${session.user}</b> on ${session.login}@${session.target}`),
    cell(session.command === undefined ? session.kind : html`<code>${session.command}</code>`),
    cell(formatTime(session.startedAt), 'Started'),
    cell(formatEnd(session)),
    cell(formatDuration(session), 'Duration'),
    cell(formatBytes(session.bytes), 'Bytes'),
    html`<td role="cell" class="act"><a class="button" href="/plain/sessions/${session.id}">Details<span class="hide"> ${session.user} on ${session.target}</span></a></td>\n`,
  ])

/** How it ended, in a word or two. */
function formatEnd({ live, exitStatus, exitSignal, reason }: Session): Html {
  if (live) return html`<span class="state live">live</span>`
  if (exitStatus !== null)
    return html`<span class="state ${exitStatus === 0 ? 'good' : 'bad'}">exit ${exitStatus}</span>`
  if (exitSignal !== null) return html`<span class="state bad">signal ${exitSignal}</span>`
  return html`<span class="state">${reason ?? 'unknown'}</span>`
}
