import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { useAttempt } from './attempt.ts'
import { CallFailed } from './call.ts'
import { formatMoment, formatUtc } from './moments.ts'
import type { Ending } from './session-words.ts'
import { texts } from './texts.ts'
import { visible } from './visible.ts'

/** Text from outside: it is text, and cannot turn around what stands beside it. */
export function Outside({ text }: { readonly text: string }) {
  return <bdi>{visible(text)}</bdi>
}

/** A time in the viewer's zone; UTC on hover, and for programs. */
export function Moment({ at }: { readonly at: string }) {
  const when = new Date(at)
  if (Number.isNaN(when.getTime())) return <>{texts.unknown}</>
  return (
    <time dateTime={at} title={formatUtc(when)}>
      {formatMoment(when)}
    </time>
  )
}

export function EndState({ ending }: { readonly ending: Ending }) {
  const { shape, word, note } = ending
  return (
    <>
      <span class={`state ${shape}`}>
        <Outside text={word} />
      </span>
      {note !== undefined && (
        <span class="small">
          <Outside text={note} />
        </span>
      )}
    </>
  )
}

/** A button that copies a text, and says so where a screen reader hears it. */
export function Copy(props: {
  readonly text: () => string
  readonly label: ComponentChildren
  /** For those who do not see what it stands beside. */
  readonly name?: string
  readonly plain?: boolean
}) {
  const done = useSignal(false)
  useEffect(() => {
    if (!done.value) return
    const timer = setTimeout(() => {
      done.value = false
    }, 2000)
    return () => clearTimeout(timer)
  }, [done.value])
  const copy = () => {
    done.value = copyText(props.text())
  }
  return (
    <button
      type="button"
      class={props.plain ? 'plain' : undefined}
      aria-label={done.value ? undefined : props.name}
      onClick={copy}
    >
      {done.value ? texts.copied : props.label}
      <span class="hide" role="status">
        {done.value ? texts.copied : ''}
      </span>
    </button>
  )
}

/**
 * Whether it is in the clipboard. The pages have no right to the clipboard by themselves, which a hostile
 * recording could use: only a press of the reader copies what is selected.
 */
export function copyText(text: string): boolean {
  const before = document.activeElement
  const field = document.createElement('textarea')
  field.value = text
  field.className = 'hide'
  // Behind an open dialog nothing can be selected.
  const place = document.querySelector('dialog[open]') ?? document.body
  place.append(field)
  field.select()
  const done = document.execCommand('copy')
  field.remove()
  if (before instanceof HTMLElement) before.focus()
  return done
}

/** The end of a list: how much of it is shown, and a button for more that says when it fails. */
export function Pager(props: {
  readonly more: () => Promise<void>
  readonly failed: string
  readonly children: (more: () => Promise<void>) => ComponentChildren
}) {
  const { error, attempt } = useAttempt()
  const more = () => attempt(props.more)
  return (
    <>
      {error !== undefined && <Failure what={props.failed} error={error} again={more} />}
      <p class="pager">{props.children(more)}</p>
    </>
  )
}

/** A line to copy, whole on every width. */
export function Line({ label, text }: { readonly label: string; readonly text: string }) {
  return (
    <div class="code">
      <div>
        <span>{label}</span>
        <Copy text={() => text} label={texts.copy} name={texts.copyThe(label)} />
      </div>
      <pre>
        <code>{text}</code>
      </pre>
    </div>
  )
}

/** What happened, what still works, and the facts for a report. */
export function Failure(props: {
  readonly what: string
  readonly error: unknown
  readonly again?: () => void
}) {
  const { code, message, requestId, at } = failureOf(props.error)
  const facts = [code, ...(requestId === undefined ? [] : [`request ${requestId}`]), formatUtc(at)]
  return (
    <section class="flow">
      <div class="notice bad" role="alert">
        <p>
          <b>{props.what}</b> {message}.
        </p>
        <p class="small">{facts.join(' · ')}</p>
      </div>
      <div class="row">
        {props.again && (
          <button type="button" class="strong" onClick={props.again}>
            {texts.again}
          </button>
        )}
        <Copy text={() => facts.join(' · ')} label={texts.copyDetails} />
      </div>
    </section>
  )
}

function failureOf(error: unknown): CallFailed {
  if (error instanceof CallFailed) return error
  return new CallFailed('ERR_PAGE', texts.pageFailed)
}

/** The lines pulse after 300 ms, and a sentence says after 5 s that it is slow. */
export function Loading({ what }: { readonly what: string }) {
  const after = useSignal(0)
  useEffect(() => {
    const timers = [300, 5000].map((ms) =>
      setTimeout(() => {
        after.value = ms
      }, ms),
    )
    return () => {
      for (const timer of timers) clearTimeout(timer)
    }
  }, [])
  return (
    <section class="card skeleton" aria-busy="true" aria-label={what}>
      <div class={after.value === 0 ? 'flow later' : 'flow'}>
        <i class="w2" />
        <i class="w3" />
        <i class="w1" />
        <i class="w3" />
      </div>
      <p class="small quiet" role="status">
        {after.value === 5000 ? texts.slow : ''}
      </p>
    </section>
  )
}
