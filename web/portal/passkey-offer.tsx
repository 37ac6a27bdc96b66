import { useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'
import { call } from '../shared/call.ts'
import { knowsPasskeys, passkeyPlace } from '../shared/passkey.ts'
import { texts } from './home-texts.ts'

const stored = 'vaultterm-passkey-offer'

/**
 * Offers a passkey to a person who has none, and would need another link next time. After *Not now* it is not
 * offered again in this browser.
 */
export function PasskeyOffer() {
  const isShown = useSignal(false)
  useEffect(() => {
    if (!knowsPasskeys() || passkeyPlace() !== 'here' || localStorage.getItem(stored) === 'off')
      return
    const look = async () => {
      const { items } = await call('GET', '/api/v1/self/passkeys')
      isShown.value = items.length === 0
    }
    // The targets are what the page is for: it goes on without the offer.
    look().catch(() => {})
  }, [])
  if (!isShown.value) return null
  const { title, text, act, later } = texts.offer
  const close = () => {
    localStorage.setItem(stored, 'off')
    isShown.value = false
  }
  return (
    <div class="notice">
      <p>
        <b>{title}</b> {text}
      </p>
      <div class="row">
        <a class="button" href="/settings/security">
          {act}
        </a>
        <button type="button" class="plain" onClick={close}>
          {later}
        </button>
      </div>
    </div>
  )
}
