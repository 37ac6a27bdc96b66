import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { useAttempt } from './attempt.ts'
import { CallFailed, call, type Reply } from './call.ts'
import { provePasskey } from './passkey.ts'
import { texts } from './texts.ts'
import { StepUpCancelled, Trouble } from './trouble.tsx'

type Purpose = Reply<'POST', '/api/v1/self/step-up/passkey'>['purpose']
interface Wanted {
  readonly purpose: Purpose
  /** What the person is about to do, in words. */
  readonly act: string
  readonly settle: (isConfirmed: boolean) => void
}

export interface StepUp {
  /**
   * Does it. Where the server asks for a fresh proof first, a dialog asks the person for one, and then the
   * act runs without another press. `act` completes "You are about to …". Throws StepUpCancelled.
   */
  confirmed<T>(act: string, todo: () => Promise<T>): Promise<T>
  /** Its place on the page. */
  readonly dialog: ComponentChildren
}

/** Fresh proofs for the acts of a page. */
export function useStepUp(): StepUp {
  const wanted = useSignal<Wanted | undefined>(undefined)
  const ask = (purpose: Purpose, act: string) =>
    new Promise<boolean>((resolve) => {
      const settle = (isConfirmed: boolean) => {
        wanted.value = undefined
        resolve(isConfirmed)
      }
      wanted.value = { purpose, act, settle }
    })
  return {
    async confirmed(act, todo) {
      try {
        return await todo()
      } catch (err) {
        const purpose = err instanceof CallFailed ? err.purpose : undefined
        if (purpose === undefined) throw err
        if (!(await ask(purpose as Purpose, act))) throw new StepUpCancelled()
        return todo()
      }
    },
    dialog: wanted.value && <StepUpDialog {...wanted.value} />,
  }
}

function StepUpDialog({ purpose, act, settle }: Wanted) {
  const dialog = useRef<HTMLDialogElement>(null)
  const { error, attempt } = useAttempt()
  const isBusy = useSignal(false)
  useEffect(() => {
    // One dialog is seen at a time: the one that asked comes back with what was typed into it.
    const asker = document.querySelector<HTMLDialogElement>('dialog[open]')
    if (asker !== null) asker.hidden = true
    dialog.current?.showModal()
    return () => {
      if (asker !== null) asker.hidden = false
    }
  }, [])
  const confirm = async () => {
    isBusy.value = true
    await attempt(async () => {
      const options = await call('POST', '/api/v1/self/step-up/passkey/options', {
        body: { purpose },
      })
      const body = { purpose, answer: await provePasskey<never>(options) }
      await call('POST', '/api/v1/self/step-up/passkey', { body })
      settle(true)
    })
    isBusy.value = false
  }
  const { title, about, confirmAct, help, failed } = texts.stepUp
  return (
    <dialog
      ref={dialog}
      aria-labelledby="step-up-title"
      aria-describedby="step-up-act"
      onClose={() => settle(false)}
    >
      <h2 id="step-up-title">{title}</h2>
      <p id="step-up-act">
        {about} <b>{act}</b>.
      </p>
      <p>
        <button
          type="button"
          class="strong big"
          autofocus
          aria-disabled={isBusy.value}
          onClick={() => isBusy.value || void confirm()}
        >
          {confirmAct}
        </button>
      </p>
      <Trouble error={error} failed={failed} />
      <p class="help">{help}</p>
      <footer>
        <button type="button" onClick={() => dialog.current?.close()}>
          {texts.cancel}
        </button>
      </footer>
    </dialog>
  )
}
