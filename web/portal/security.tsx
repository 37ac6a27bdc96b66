import { call } from '../shared/call.ts'
import { type Frame, show } from '../shared/frame.ts'
import { Keys } from '../shared/keys.tsx'
import { useLoaded } from '../shared/loaded.tsx'
import { useStepUp } from '../shared/step-up.tsx'
import { useToast } from '../shared/toast.tsx'
import { visible } from '../shared/visible.ts'
import { Passkeys } from './passkeys.tsx'
import { texts } from './security-texts.ts'
import { Settings } from './settings.tsx'
import { SshKeys } from './ssh-keys.tsx'
import { WebSessions } from './web-sessions.tsx'

function SecurityPage({ frame }: { readonly frame: Frame }) {
  const stepUp = useStepUp()
  const passkeys = useLoaded(async () => (await call('GET', '/api/v1/self/passkeys')).items)
  const keys = useLoaded(async () => (await call('GET', '/api/v1/self/keys')).items)
  const sessions = useLoaded(async () => (await call('GET', '/api/v1/self/web-sessions')).items)
  const toast = useToast()
  const { say } = toast
  const reloadPasskeys = () => {
    void passkeys.reload()
    // A change of passkeys signs the other browsers out.
    void sessions.reload()
  }
  return (
    <Settings frame={frame} current="security">
      <h1>{texts.title}</h1>
      <p class="lead">{texts.lead(visible(frame.user))}</p>
      <div class="cards">
        <Passkeys state={passkeys.state.value} reload={reloadPasskeys} stepUp={stepUp} say={say} />
        <SshKeys
          state={keys.state.value}
          reload={() => void keys.reload()}
          stepUp={stepUp}
          say={say}
        />
        <WebSessions state={sessions.state.value} reload={() => void sessions.reload()} say={say} />
      </div>
      {stepUp.dialog}
      {toast.place}
      <Keys />
    </Settings>
  )
}

show((frame) => <SecurityPage frame={frame} />)
