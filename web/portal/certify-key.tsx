import { useSignal } from '@preact/signals'
import { useAttempt } from '../shared/attempt.ts'
import { call, type Reply } from '../shared/call.ts'
import { Line, Moment } from '../shared/parts.tsx'
import type { StepUp } from '../shared/step-up.tsx'
import { Trouble } from '../shared/trouble.tsx'
import { PublicKeyField, usePublicKey } from './public-key-field.tsx'
import { texts } from './security-texts.ts'

type Certificate = Reply<'POST', '/api/v1/self/certificates'>

const words = texts.keys.certificate
const lifetimes = [1, 8, 24] as const

/** A certificate for some hours, for a key that is not to be registered. */
export function CertifyKey({ stepUp }: { readonly stepUp: StepUp }) {
  const publicKey = usePublicKey()
  const { error, attempt } = useAttempt()
  const made = useSignal<Certificate | undefined>(undefined)
  const certify = async (event: SubmitEvent) => {
    event.preventDefault()
    if (!(event.currentTarget instanceof HTMLFormElement)) return
    const hours = Number(new FormData(event.currentTarget).get('hours'))
    made.value = undefined
    await attempt(async () => {
      const line = publicKey.read()
      if (line === undefined) return
      made.value = await stepUp.confirmed(words.confirm, () =>
        call('POST', '/api/v1/self/certificates', { body: { line, hours } }),
      )
    })
  }
  return (
    <details class="more">
      <summary>{words.title}</summary>
      <p class="quiet">{words.lead}</p>
      <form onSubmit={certify}>
        <div class="field">
          <PublicKeyField id="certify-line" publicKey={publicKey} rows={3} />
        </div>
        <div class="row">
          <label for="certify-hours">{words.hours}</label>
          <select id="certify-hours" name="hours">
            {lifetimes.map((hours) => (
              <option key={hours} value={hours} selected={hours === 8}>
                {words.lifetime(hours)}
              </option>
            ))}
          </select>
          <button type="submit" class="end">
            {words.act}
          </button>
        </div>
        <Trouble error={error} />
      </form>
      {made.value && (
        <div role="status">
          <p>
            {words.until} <Moment at={made.value.expiresAt} />.
          </p>
          <Line label={words.save} text={made.value.certificate} />
        </div>
      )}
    </details>
  )
}
