import type { Session } from '../access/index.ts'
import type { WebIdentity } from '../auth/index.ts'
import { type Html, html, page } from '../http/index.ts'
import { formatBytes, formatDuration, formatTime } from './format.ts'
import { formatEnd } from './sessions-page.ts'

/** One session, with its recording if there is one. */
export function sessionPage(person: WebIdentity, session: Session): Html {
  const recording = `/api/v1/sessions/${session.id}/recording.cast`
  return page({
    title: `${session.user} on ${session.target}`,
    person: { name: person.user.name, detail: person.tenantSlug },
    scripts: ['/assets/times.js', ...(session.recording ? ['/assets/replay.js'] : [])],
    styles: session.recording ? ['/assets/player.css'] : [],
    body: html`<p><a href="/">← Sessions</a></p>
<h1>${session.user} on ${session.login}@${session.target}</h1>
${session.command === undefined ? undefined : html`<pre><code>${session.command}</code></pre>`}
<dl class="facts">
<div><dt>Started</dt><dd>${formatTime(session.startedAt)}</dd></div>
<div><dt>Duration</dt><dd>${formatDuration(session)}</dd></div>
<div><dt>Ended</dt><dd>${formatEnd(session)}</dd></div>
${session.killReason === null ? undefined : html`<div><dt>Because</dt><dd>${session.killReason}</dd></div>`}
<div><dt>Kind</dt><dd>${session.kind}</dd></div>
<div><dt>Via</dt><dd>${session.via}</dd></div>
<div><dt>Bytes</dt><dd>${formatBytes(session.bytes)}</dd></div>
<div><dt>From</dt><dd>${session.source}</dd></div>
<div><dt>Session</dt><dd><code>${session.id}</code></dd></div>
</dl>
${session.recordingIntact === false ? altered : undefined}
${session.recording ? player(recording) : html`<p class="quiet">${whyUnrecorded(session)}</p>`}`,
  })
}

function whyUnrecorded({ kind }: Session): string {
  return kind === 'forward' || kind === 'remote-forward'
    ? 'This session is a forward, and forwards are not recorded.'
    : 'This session had no output, so there is no recording.'
}

const altered = html`<section class="note"><p>This recording was changed while it was written: it is no evidence.</p></section>`

const player = (recording: string) => html`<section id="replay-notes" class="note" hidden></section>
<div id="player" class="player" data-recording="${recording}"></div>
<p><a href="${recording}" download>Download the recording</a> <span class="quiet">asciicast v3, for <code>asciinema play</code></span></p>`
