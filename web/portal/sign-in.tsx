import { useSignal } from '@preact/signals'
import { useAttempt } from '../shared/attempt.ts'
import { call } from '../shared/call.ts'
import { show } from '../shared/frame.ts'
import { knowsPasskeys, passkeyPlace, provePasskey } from '../shared/passkey.ts'
import { Trouble } from '../shared/trouble.tsx'
import { texts } from './sign-in-texts.ts'

/** The button for people who have a passkey. Their browser knows which, and whose. */
function PasskeySignIn() {
  const { error, attempt } = useAttempt()
  const isBusy = useSignal(false)
  if (!knowsPasskeys() || passkeyPlace() !== 'here') return null
  const signIn = async () => {
    if (isBusy.value) return
    isBusy.value = true
    await attempt(async () => {
      const options = await call('POST', '/api/v1/sign-in/passkey/options', { body: {} })
      const answer = await provePasskey<never>(options)
      await call('POST', '/api/v1/sign-in/passkey', { body: { answer } })
      location.assign('/')
    })
    isBusy.value = false
  }
  return (
    <>
      <p>
        <button type="button" class="strong big" aria-disabled={isBusy.value} onClick={signIn}>
          {texts.passkey}
        </button>
      </p>
      <Trouble error={error} failed={texts.failed} givenUp={texts.givenUp} />
      <p class="help">{texts.help}</p>
    </>
  )
}

show(() => <PasskeySignIn />)
