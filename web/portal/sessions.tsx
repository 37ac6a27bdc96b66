import { useSignal } from '@preact/signals'
import { useEffect, useState } from 'preact/hooks'
import { type Frame, show } from '../shared/frame.ts'
import { Keys } from '../shared/keys.tsx'
import { formatMoment, zoneName } from '../shared/moments.ts'
import { Failure, Line, Loading, Pager } from '../shared/parts.tsx'
import { bastionOf, shellLine } from './connect-lines.ts'
import { EndSession } from './end-session.tsx'
import { SessionFilters } from './session-filters.tsx'
import {
  type ListState,
  readFilter,
  type Session,
  type SessionFilter,
  SessionList,
  writeFilter,
} from './session-list.ts'
import { SessionTable } from './session-rows.tsx'
import { texts } from './sessions-texts.ts'

const followMs = 10_000

/** The filter of the address: Back restores it. */
function useFilter() {
  const filter = useSignal<SessionFilter>(readFilter(location.search))
  useEffect(() => {
    const restore = () => {
      filter.value = readFilter(location.search)
    }
    window.addEventListener('popstate', restore)
    return () => window.removeEventListener('popstate', restore)
  }, [])
  const change = (to: SessionFilter) => {
    history.pushState(null, '', writeFilter(to))
    filter.value = to
  }
  return { filter: filter.value, change }
}

function SessionsPage({ frame }: { readonly frame: Frame }) {
  const [list] = useState(() => new SessionList())
  const { filter, change } = useFilter()
  const ending = useSignal<Session | undefined>(undefined)
  const load = () => void list.load(filter)
  useEffect(load, [filter])
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) void list.follow()
    }, followMs)
    return () => clearInterval(timer)
  }, [])
  const intro = frame.sees === 'all' ? texts.all : texts.own
  return (
    <>
      <div class="head">
        <div>
          <h1>{texts.title}</h1>
          <p class="quiet">{intro(frame.tenant, zoneName())}</p>
        </div>
      </div>
      <SessionFilters frame={frame} filter={filter} change={change} />
      <News list={list} load={load} />
      <List
        {...{ frame, list, filter, change, load }}
        onEnd={(session) => {
          ending.value = session
        }}
      />
      {ending.value && (
        <EndSession
          session={ending.value}
          frame={frame}
          onClose={() => {
            ending.value = undefined
          }}
          onEnded={() => {
            ending.value = undefined
            void list.follow()
          }}
        />
      )}
      <Keys />
    </>
  )
}

/** New rows wait here: a list that is read does not jump. */
function News({ list, load }: { readonly list: SessionList; readonly load: () => void }) {
  const { news, stale, state } = list
  return (
    <div role="status">
      {news.value > 0 && (
        <p>
          <button type="button" onClick={load}>
            {texts.news(news.value)}
          </button>
        </p>
      )}
      {stale.value !== undefined && state.value.is === 'there' && (
        <div class="notice warn">
          <p>
            <b>{texts.stale}</b> {texts.staleSince(formatMoment(state.value.at))}
          </p>
        </div>
      )}
    </div>
  )
}

function List(props: {
  readonly frame: Frame
  readonly list: SessionList
  readonly filter: SessionFilter
  readonly change: (to: SessionFilter) => void
  readonly load: () => void
  readonly onEnd: (session: Session) => void
}) {
  const state = props.list.state.value
  if (state.is === 'loading') return <Loading what={texts.loading} />
  if (state.is === 'failed') {
    const what = `${texts.failed} ${texts.goOn}`
    return <Failure what={what} error={state.error} again={props.load} />
  }
  if (state.sessions.length === 0) return <Empty {...props} />
  return (
    <>
      <SessionTable sessions={state.sessions} frame={props.frame} onEnd={props.onEnd} />
      <OlderSessions list={props.list} state={state} />
    </>
  )
}

function Empty({
  frame,
  filter,
  change,
}: {
  readonly frame: Frame
  readonly filter: SessionFilter
  readonly change: (to: SessionFilter) => void
}) {
  if (Object.keys(filter).length > 0) {
    return (
      <section class="card">
        <p>
          <b>{texts.nothing}</b>
        </p>
        <button type="button" onClick={() => change({})}>
          {texts.clear}
        </button>
      </section>
    )
  }
  return (
    <section class="empty">
      <p>
        <b>{texts.emptyTitle}</b> {texts.empty}
      </p>
      <Line label={texts.tryIt} text={shellLine(bastionOf(frame), { tenant: frame.tenant })} />
    </section>
  )
}

function OlderSessions(props: {
  readonly list: SessionList
  readonly state: Extract<ListState, { is: 'there' }>
}) {
  const { sessions, next, at } = props.state
  return (
    <Pager more={() => props.list.more()} failed={texts.failed}>
      {(more) => (
        <>
          {texts.shown(sessions.length.toLocaleString(), formatMoment(at))}{' '}
          {next === null ? (
            <span class="end">{texts.theEnd}</span>
          ) : (
            <button type="button" class="plain end" onClick={more}>
              {texts.older}
            </button>
          )}
        </>
      )}
    </Pager>
  )
}

show((frame) => <SessionsPage frame={frame} />)
