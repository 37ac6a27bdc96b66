import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { call } from '../shared/call.ts'
import { type Frame, show } from '../shared/frame.ts'
import { Keys } from '../shared/keys.tsx'
import { formatBytes, formatMoment, zoneName } from '../shared/moments.ts'
import { EndState, Failure, Line, Loading, Moment, Outside } from '../shared/parts.tsx'
import { describeEnding, describeKind } from '../shared/session-words.ts'
import { texts as common } from '../shared/texts.ts'
import { EndSession, mayEnd } from './end-session.tsx'
import { ReplayView } from './replay-view.tsx'
import type { Session } from './session-list.ts'
import { durationOf, What } from './session-rows.tsx'
import { texts } from './session-texts.ts'

const followMs = 10_000

function SessionPage({ frame, id }: { readonly frame: Frame; readonly id: string }) {
  const session = useSignal<Session | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const load = async () => {
    try {
      session.value = await call('GET', '/api/v1/sessions/{id}', { params: { id } })
      error.value = undefined
    } catch (err) {
      error.value = err
    }
  }
  const isLive = session.value?.live
  useEffect(() => void load(), [id])
  useEffect(() => {
    if (!isLive) return
    const timer = setInterval(load, followMs)
    return () => clearInterval(timer)
  }, [isLive])
  const crumb = (
    <p class="crumb">
      <a href="/sessions">{texts.back}</a>
    </p>
  )
  if (session.value !== undefined)
    return (
      <>
        {crumb}
        <Content frame={frame} session={session.value} reload={load} />
      </>
    )
  return (
    <>
      {crumb}
      {error.value === undefined ? (
        <Loading what={texts.loading} />
      ) : (
        <Failure what={texts.failed} error={error.value} again={load} />
      )}
      <Keys />
    </>
  )
}

function Content(props: {
  readonly frame: Frame
  readonly session: Session
  readonly reload: () => void
}) {
  const { frame, session, reload } = props
  const asks = useSignal(false)
  const ask = (does: boolean) => {
    asks.value = does
  }
  return (
    <>
      <Head frame={frame} session={session} onEnd={() => ask(true)} />
      {session.recordingIntact === false && (
        <div class="notice bad">
          <p>{texts.verifiedLong.no}</p>
        </div>
      )}
      {session.command !== undefined && (
        <pre class="command">
          <What session={session} />
        </pre>
      )}
      <Shown session={session} />
      <Facts session={session} />
      {asks.value && (
        <EndSession
          {...{ session, frame }}
          onClose={() => ask(false)}
          onEnded={() => {
            ask(false)
            reload()
          }}
        />
      )}
    </>
  )
}

/** Who, where, when, how it ended, verified or not; and the acts. */
function Head(props: {
  readonly frame: Frame
  readonly session: Session
  readonly onEnd: () => void
}) {
  const { frame, session, onEnd } = props
  const recording = recordingOf(session)
  return (
    <div class="head">
      <div>
        <h1>
          <Outside text={session.user} /> {texts.on}{' '}
          <Outside text={`${session.login}@${session.target}`} />
        </h1>
        <p class="quiet">{summary(session)}</p>
      </div>
      <div class="row end">
        {recording && <Verified session={session} />}
        {mayEnd(frame, session) && (
          <button type="button" class="danger" onClick={onEnd}>
            {texts.end}
          </button>
        )}
        {recording && (
          <a class="button" href={recording} download>
            {texts.download}
          </a>
        )}
      </div>
    </div>
  )
}

/** The replay, or why there is none. */
function Shown({ session }: { readonly session: Session }) {
  const recording = recordingOf(session)
  if (recording === undefined) {
    return (
      <>
        <p class="notice">{whyNone(session)}</p>
        <Keys />
      </>
    )
  }
  // When it ends, the whole recording is read in place of what there was.
  return (
    <>
      {session.live && <p class="notice">{texts.goesOn}</p>}
      <ReplayView key={`${session.live}`} url={recording} startAt={startOf(location.search)} />
    </>
  )
}

/** undefined: there is nothing to watch. */
function recordingOf({ id, recording }: Session): string | undefined {
  return recording ? `/api/v1/sessions/${id}/recording.cast` : undefined
}

/** Seconds of the session in the address, as milliseconds. */
function startOf(search: string): number | undefined {
  const seconds = new URLSearchParams(search).get('t') ?? ''
  return /^\d{1,9}$/.test(seconds) ? Number(seconds) * 1000 : undefined
}

function summary({ kind, startedAt, endedAt, live }: Session): string {
  const from = formatMoment(new Date(startedAt))
  if (live) return texts.since(describeKind(kind), from)
  const to = endedAt === null ? common.unknown : formatMoment(new Date(endedAt))
  return texts.summary(describeKind(kind), from, to)
}

function Verified({ session: { live, recordingIntact } }: { readonly session: Session }) {
  const { verified } = texts
  if (live) return <span class="badge info">{verified.live}</span>
  if (recordingIntact === null) return <span class="badge">{verified.unknown}</span>
  return recordingIntact ? (
    <span class="badge good">{verified.yes}</span>
  ) : (
    <span class="badge bad">{verified.no}</span>
  )
}

function whyNone({ kind, live }: Session): string {
  if (kind === 'forward' || kind === 'remote-forward') return texts.noReplay.forward
  return live ? texts.noReplay.live : texts.noReplay.none
}

function Facts({ session }: { readonly session: Session }) {
  const fact = (name: string, value: ComponentChildren) => (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  )
  const { startedAt, bytes, source, clientIdent, via, kind, node, id } = session
  return (
    <div class="card">
      <dl class="facts">
        {fact(texts.started, <Moment at={startedAt} />)}
        {fact(texts.duration, durationOf(session))}
        {fact(texts.ended, <EndState ending={describeEnding(session)} />)}
        {fact(texts.bytes, bytes === null ? common.unknown : formatBytes(bytes))}
        {fact(texts.from, <Outside text={source} />)}
        {fact(texts.client, <Outside text={clientIdent} />)}
        {fact(texts.kind, describeKind(kind))}
        {fact(texts.via, texts.ways[via])}
        {fact(texts.node, <Outside text={node} />)}
        {fact(texts.session, <code>{id}</code>)}
      </dl>
      <Proof session={session} />
      <p class="small quiet">{texts.zone(zoneName())}</p>
    </div>
  )
}

function Proof({ session: { id, recordingIntact, recordingSha256 } }: { session: Session }) {
  if (recordingSha256 === null) return null
  const { yes, no, unknown } = texts.verifiedLong
  const [shape, says] =
    recordingIntact === null ? ['wait', unknown] : recordingIntact ? ['good', yes] : ['bad', no]
  return (
    <details class="more">
      <summary>
        <span class={`state ${shape}`}>{says}</span>
      </summary>
      <p class="small">{texts.digest}</p>
      <Line label={texts.digestLabel} text={recordingSha256} />
      <Line label={texts.check} text={`vaultterm session verify ${id}`} />
    </details>
  )
}

show((frame, place) => <SessionPage frame={frame} id={place.dataset.session ?? ''} />)
