import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { useAttempt } from './attempt.ts'
import { texts } from './texts.ts'
import { Trouble } from './trouble.tsx'

/** A dialog that is in front of the page from its first moment. */
export function useModal() {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => dialog.current?.showModal(), [])
  return dialog
}

/** The text of a field by its name, without spaces around it; empty if there is none. */
export type Field = (name: string) => string

/**
 * Asks, and acts on a press. It stays until the act closes it, and shows what the act throws. What cannot be
 * undone has the focus on the way back.
 */
export function AskDialog(props: {
  /** Of the title. */
  readonly id: string
  readonly title: string
  readonly act: string
  readonly isDanger?: boolean
  readonly onAct: (field: Field) => Promise<unknown>
  readonly onClose: () => void
  /** Takes a file that is dropped on it. */
  readonly onFile?: (file: File | undefined) => unknown
  /** What it says when the act failed, and when the person gave up. */
  readonly failed?: string
  readonly givenUp?: string
  readonly children: ComponentChildren
}) {
  const { id, title, act, isDanger = false, onAct, onFile, failed, givenUp } = props
  const dialog = useModal()
  const { error, attempt } = useAttempt()
  const submit = (event: SubmitEvent) => {
    event.preventDefault()
    if (!(event.currentTarget instanceof HTMLFormElement)) return
    const fields = new FormData(event.currentTarget)
    void attempt(() => onAct((name) => `${fields.get(name) ?? ''}`.trim()))
  }
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={props.onClose}>
      <form
        onSubmit={submit}
        onDragOver={onFile && ((event) => event.preventDefault())}
        onDrop={
          onFile &&
          ((event) => {
            event.preventDefault()
            onFile(event.dataTransfer?.files[0])
          })
        }
      >
        <h2 id={id}>{title}</h2>
        {props.children}
        <Trouble error={error} {...(failed && { failed })} {...(givenUp && { givenUp })} />
        <footer>
          <button type="button" autofocus={isDanger} onClick={() => dialog.current?.close()}>
            {texts.cancel}
          </button>
          <button type="submit" class={isDanger ? 'danger strong' : 'strong'}>
            {act}
          </button>
        </footer>
      </form>
    </dialog>
  )
}

/** The field `name`, for a name that is typed before something that cannot be undone. */
export function TypedName(props: {
  readonly id: string
  readonly name: string
  readonly isWrong: boolean
}) {
  const { id, name, isWrong } = props
  return (
    <div class="field">
      <label for={id}>{texts.typedName.label(name)}</label>
      <input
        id={id}
        name="name"
        type="text"
        autocomplete="off"
        aria-invalid={isWrong}
        aria-describedby={`${id}-wrong`}
      />
      <p class="wrong" id={`${id}-wrong`} role="status">
        {isWrong ? texts.typedName.mismatch(name) : ''}
      </p>
    </div>
  )
}
