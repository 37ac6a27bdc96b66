import { useSignal } from '@preact/signals'
import { call, type Reply } from '../shared/call.ts'
import { Line, Moment } from '../shared/parts.tsx'
import type { StepUp } from '../shared/step-up.tsx'
import { Trouble } from './passkeys.tsx'
import { isPublic, problemOfLine } from './public-key-line.ts'
import { texts } from './security-texts.ts'

type Certificate = Reply<'POST', '/api/v1/self/certificates'>

const words = texts.keys.certificate
const lifetimes = [1, 8, 24] as const

/** A certificate for some hours, for a key that is not to be registered. */
export function CertifyKey({ stepUp }: { readonly stepUp: StepUp }) {
  const wrong = useSignal<string | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const made = useSignal<Certificate | undefined>(undefined)
  const certify = async (event: SubmitEvent) => {
    event.preventDefault()
    if (!(event.currentTarget instanceof HTMLFormElement)) return
    const form = event.currentTarget
    const fields = new FormData(form)
    const line = `${fields.get('line') ?? ''}`.trim()
    wrong.value = problemOfLine(line)
    error.value = undefined
    made.value = undefined
    if (wrong.value !== undefined) {
      if (!isPublic(line)) form.reset()
      return
    }
    const body = { line, hours: Number(fields.get('hours')) }
    try {
      made.value = await stepUp.confirmed(words.confirm, () =>
        call('POST', '/api/v1/self/certificates', { body }),
      )
    } catch (err) {
      error.value = err
    }
  }
  return (
    <details class="more">
      <summary>{words.title}</summary>
      <p class="quiet">{words.lead}</p>
      <form onSubmit={certify}>
        <div class="field">
          <label for="certify-line">{texts.keys.dialog.line}</label>
          <textarea
            id="certify-line"
            name="line"
            rows={3}
            spellcheck={false}
            autocomplete="off"
            aria-invalid={wrong.value !== undefined}
            aria-describedby="certify-wrong"
          />
          <p class="wrong" id="certify-wrong" role="status">
            {wrong.value ?? ''}
          </p>
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
        <Trouble error={error.value} />
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
