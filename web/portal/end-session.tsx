import { type Signal, useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { call } from '../shared/call.ts'
import type { Frame } from '../shared/frame.ts'
import { Failure } from '../shared/parts.tsx'
import { texts as common } from '../shared/texts.ts'
import { visible } from '../shared/visible.ts'
import type { Session } from './session-list.ts'
import { texts } from './sessions-texts.ts'

/** Whether the page offers it. The server decides. */
export function mayEnd({ ends, user }: Frame, session: Session): boolean {
  return session.live && (ends === 'all' || (ends === 'own' && session.user === user))
}

interface EndSessionProps {
  readonly session: Session
  readonly frame: Frame
  readonly onClose: () => void
  readonly onEnded: () => void
}

/** What the dialog asks for, and what came of it. */
function useEnding({ session, frame, onEnded }: EndSessionProps) {
  const typed = useSignal('')
  const reason = useSignal('')
  const isWrong = useSignal(false)
  const error = useSignal<unknown>(undefined)
  const isOther = session.user !== frame.user
  const end = async (event: Event) => {
    event.preventDefault()
    isWrong.value = isOther && typed.value.trim() !== session.user
    if (isWrong.value) return
    try {
      const body = reason.value.trim() === '' ? {} : { reason: reason.value.trim() }
      await call('POST', '/api/v1/sessions/{id}/end', { params: { id: session.id }, body })
      onEnded()
    } catch (err) {
      error.value = err
    }
  }
  return { typed, reason, isWrong: isWrong.value, error: error.value, isOther, end }
}

/** Asks before it ends a session. For somebody else's work the name is typed. */
export function EndSession(props: EndSessionProps) {
  const { session, onClose } = props
  const dialog = useRef<HTMLDialogElement>(null)
  const { typed, reason, isWrong, error, isOther, end } = useEnding(props)
  useEffect(() => dialog.current?.showModal(), [])
  const name = visible(session.user)
  return (
    <dialog ref={dialog} aria-labelledby="end-title" onClose={onClose}>
      <form onSubmit={end}>
        <h2 id="end-title">{texts.dialog.title(name, visible(session.target))}</h2>
        <p>{texts.dialog.effect}</p>
        <Reason value={reason} />
        {isOther && <TypedName name={name} value={typed} isWrong={isWrong} />}
        {error !== undefined && <Failure what={texts.dialog.failed} error={error} />}
        <footer>
          <button type="button" autofocus onClick={() => dialog.current?.close()}>
            {common.cancel}
          </button>
          <button type="submit" class="danger strong">
            {texts.dialog.act}
          </button>
        </footer>
      </form>
    </dialog>
  )
}

function Reason({ value }: { readonly value: Signal<string> }) {
  return (
    <div class="field">
      <label for="end-reason">{texts.dialog.reason}</label>
      <input
        id="end-reason"
        type="text"
        maxLength={200}
        aria-describedby="end-help"
        onInput={(event) => {
          value.value = event.currentTarget.value
        }}
      />
      <p class="help" id="end-help">
        {texts.dialog.reasonHelp}
      </p>
    </div>
  )
}

function TypedName(props: {
  readonly name: string
  readonly value: Signal<string>
  readonly isWrong: boolean
}) {
  const { name, value, isWrong } = props
  return (
    <div class="field">
      <label for="end-name">{texts.dialog.type(name)}</label>
      <input
        id="end-name"
        type="text"
        autocomplete="off"
        aria-invalid={isWrong}
        aria-describedby="end-wrong"
        onInput={(event) => {
          value.value = event.currentTarget.value
        }}
      />
      <p class="wrong" id="end-wrong" role="status">
        {isWrong ? texts.dialog.mismatch(name) : ''}
      </p>
    </div>
  )
}
