import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { send } from '../shared/call.ts'
import { Keys, type PageKeys } from '../shared/keys.tsx'
import { formatClock, formatDuration } from '../shared/moments.ts'
import { Copy, copyText, Failure, Loading, Outside } from '../shared/parts.tsx'
import type { Mark } from './recording.ts'
import type { Replayer } from './replayer.ts'
import { texts } from './session-texts.ts'

interface Places {
  readonly place: { readonly current: HTMLDivElement | null }
  readonly notes: { readonly current: HTMLElement | null }
}

/** The replay of a recording, once it is read. */
function useReplay(url: string, startAt: number | undefined, places: Places) {
  const replayer = useSignal<Replayer | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const load = () => {
    error.value = undefined
    const leaving = new AbortController()
    openReplay(url, places, leaving.signal).then(
      (opened) => {
        replayer.value = opened
        opened?.open(startAt)
      },
      (err) => {
        if (!leaving.signal.aborted) error.value = err
      },
    )
    return () => {
      leaving.abort()
      replayer.value?.dispose()
    }
  }
  useEffect(load, [url])
  return { replayer: replayer.value, error: error.value, again: () => void load() }
}

/** The player of a recording, with what happened beside it. */
export function ReplayView({ url, startAt }: { url: string; startAt: number | undefined }) {
  const place = useRef<HTMLDivElement>(null)
  const notes = useRef<HTMLElement>(null)
  const { replayer, error, again } = useReplay(url, startAt, { place, notes })
  const marks = replayer?.facts.value?.marks ?? []
  return (
    <>
      <section id="replay-notes" class="notice" ref={notes} hidden />
      {error !== undefined && <Failure what={texts.replayFailed} error={error} again={again} />}
      <div class={marks.length > 0 ? 'with-log' : undefined} hidden={error !== undefined}>
        <div>
          <section class="player" aria-label={texts.replay}>
            <div id="player" class="stage" ref={place} />
          </section>
          {replayer === undefined ? (
            <Loading what={texts.loadingReplay} />
          ) : (
            <Settings replayer={replayer} />
          )}
        </div>
        {replayer !== undefined && marks.length > 0 && (
          <Happened replayer={replayer} marks={marks} />
        )}
      </div>
      <Keys own={replayer === undefined ? {} : keysOf(replayer)} />
    </>
  )
}

/** Reads the recording while the player's code is loaded. undefined if the reader has left. */
async function openReplay(
  url: string,
  { place, notes }: Places,
  leaving: AbortSignal,
): Promise<Replayer | undefined> {
  const [response, { Replayer }] = await Promise.all([
    send(url, { signal: leaving }),
    import('./replayer.ts'),
  ])
  const recording = await response.text()
  if (leaving.aborted || place.current === null || notes.current === null) return undefined
  return new Replayer(recording, url, { place: place.current, notes: notes.current })
}

function Settings({ replayer }: { readonly replayer: Replayer }) {
  const { skipsIdle, speed } = replayer.settings.value
  const facts = replayer.facts.value
  return (
    <>
      <div class="row under">
        <button
          type="button"
          aria-label={texts.speedName(speed)}
          onClick={() => replayer.changeSpeed(1, true)}
        >
          {texts.speed(speed)}
        </button>
        <button
          type="button"
          aria-pressed={skipsIdle}
          onClick={() => replayer.set({ skipsIdle: !skipsIdle })}
        >
          {texts.skip}
        </button>
        <Copy
          text={() => linkAt(replayer.at.value)}
          label={texts.copyLink(formatClock(replayer.at.value))}
        />
        {facts !== undefined && (
          <span class="small quiet">
            {skipsIdle
              ? texts.shortened(formatDuration(facts.watchMs), formatDuration(facts.wholeMs))
              : texts.whole(formatDuration(facts.wholeMs))}
          </span>
        )}
      </div>
      <p class="help keys">
        {texts.help.map(([key, does]) => (
          <span key={key}>
            <kbd>{key}</kbd> {does}
          </span>
        ))}
      </p>
    </>
  )
}

/** The same data as the marks on the bar. */
function Happened({ replayer, marks }: { replayer: Replayer; marks: readonly Mark[] }) {
  const at = replayer.at.value
  const last = marks.findLastIndex((mark) => mark.at <= at + 1)
  const go = (event: MouseEvent, mark: Mark) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return
    event.preventDefault()
    replayer.seekTo(mark.at)
  }
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keys.
    <section class="log" aria-label={texts.happened} tabIndex={0}>
      <ol class="timeline">
        {marks.map((mark, index) => (
          <li key={index} class={index === last ? 'on' : undefined}>
            <span class="t">{formatClock(mark.at)}</span>
            <a href={linkAt(mark.at)} onClick={(event) => go(event, mark)}>
              {mark.kind === 'resize' ? (
                texts.resize(mark.label)
              ) : (
                <Outside text={mark.label || texts.marker} />
              )}
            </a>
          </li>
        ))}
      </ol>
    </section>
  )
}

/** A link that opens the replay at a time of the session, in milliseconds. */
function linkAt(at: number): string {
  return `${location.origin}${location.pathname}?t=${Math.floor(at / 1000)}`
}

function keysOf(replayer: Replayer): PageKeys {
  const { keys } = texts
  const arrow = (by: number) => (event: KeyboardEvent) =>
    replayer.skip(by * (event.shiftKey ? 60 : 5))
  const tenths = Array.from({ length: 10 }, (_, tenth) => [
    `${tenth}`,
    { does: keys.tenths, act: () => replayer.seek(`${tenth * 10}%`) },
  ])
  return {
    ' ': { does: keys.play, act: () => replayer.togglePlay() },
    ArrowLeft: { does: keys.back, act: arrow(-1) },
    ArrowRight: { does: keys.forward, act: arrow(1) },
    '[': { does: keys.previous, act: () => replayer.seek({ marker: 'prev' }) },
    ']': { does: keys.next, act: () => replayer.seek({ marker: 'next' }) },
    '<': { does: keys.slower, act: () => replayer.changeSpeed(-1) },
    '>': { does: keys.faster, act: () => replayer.changeSpeed(1) },
    i: {
      does: keys.skip,
      act: () => replayer.set({ skipsIdle: !replayer.settings.value.skipsIdle }),
    },
    f: { does: keys.full, act: () => replayer.toggleFullScreen() },
    c: { does: keys.link, act: () => copyText(linkAt(replayer.at.value)) },
    Home: { does: keys.start, act: () => replayer.seek(0) },
    End: { does: keys.end, act: () => replayer.seek('100%') },
    ...Object.fromEntries(tenths),
  }
}
