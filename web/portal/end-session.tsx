import { useSignal } from '@preact/signals'
import { call } from '../shared/call.ts'
import { AskDialog, type Field, TypedName } from '../shared/dialog.tsx'
import type { Frame } from '../shared/frame.ts'
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

/** Asks before it ends a session. For somebody else's work the name is typed. */
export function EndSession({ session, frame, onClose, onEnded }: EndSessionProps) {
  const isWrong = useSignal(false)
  const isOther = session.user !== frame.user
  const end = async (field: Field) => {
    isWrong.value = isOther && field('name') !== session.user
    if (isWrong.value) return
    const reason = field('reason')
    const body = reason === '' ? {} : { reason }
    await call('POST', '/api/v1/sessions/{id}/end', { params: { id: session.id }, body })
    onEnded()
  }
  const { title, effect, reason, reasonHelp, failed, act } = texts.dialog
  const name = visible(session.user)
  return (
    <AskDialog
      id="end-title"
      title={title(name, visible(session.target))}
      act={act}
      isDanger
      onAct={end}
      onClose={onClose}
      failed={failed}
    >
      <p>{effect}</p>
      <div class="field">
        <label for="end-reason">{reason}</label>
        <input
          id="end-reason"
          name="reason"
          type="text"
          maxLength={200}
          aria-describedby="end-help"
        />
        <p class="help" id="end-help">
          {reasonHelp}
        </p>
      </div>
      {isOther && <TypedName id="end-name" name={name} isWrong={isWrong.value} />}
    </AskDialog>
  )
}
