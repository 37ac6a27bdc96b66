import { useSignal } from '@preact/signals'
import { call } from '../shared/call.ts'
import { show } from '../shared/frame.ts'
import { Failure } from '../shared/parts.tsx'
import { knowsPasskeys, PasskeyGivenUp, passkeyPlace, provePasskey } from '../shared/passkey.ts'
import { texts } from './sign-in-texts.ts'

/** The button for people who have a passkey. Their browser knows which, and whose. */
function PasskeySignIn() {
  const error = useSignal<unknown>(undefined)
  const isBusy = useSignal(false)
  if (!knowsPasskeys() || passkeyPlace() !== 'here') return null
  const signIn = async () => {
    if (isBusy.value) return
    isBusy.value = true
    error.value = undefined
    try {
      const options = await call('POST', '/api/v1/sign-in/passkey/options', { body: {} })
      const answer = await provePasskey<never>(options)
      await call('POST', '/api/v1/sign-in/passkey', { body: { answer } })
      location.assign('/')
    } catch (err) {
      error.value = err
      isBusy.value = false
    }
  }
  return (
    <>
      <p>
        <button type="button" class="strong big" aria-disabled={isBusy.value} onClick={signIn}>
          {texts.passkey}
        </button>
      </p>
      {error.value instanceof PasskeyGivenUp ? (
        <p class="notice warn" role="alert">
          {texts.givenUp}
        </p>
      ) : (
        error.value !== undefined && <Failure what={texts.failed} error={error.value} />
      )}
      <p class="help">{texts.help}</p>
    </>
  )
}

show(() => <PasskeySignIn />)
