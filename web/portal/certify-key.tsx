import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { useAttempt } from '../shared/attempt.ts'
import { call, type Reply } from '../shared/call.ts'
import { Part, useLoaded } from '../shared/loaded.tsx'
import { Line, Moment } from '../shared/parts.tsx'
import type { StepUp } from '../shared/step-up.tsx'
import { Cell, Row, StackedTable } from '../shared/table.tsx'
import { Trouble } from '../shared/trouble.tsx'
import { PublicKeyField, usePublicKey } from './public-key-field.tsx'
import { texts } from './security-texts.ts'

type Certificate = Reply<'POST', '/api/v1/self/certificates'>
type Valid = Reply<'GET', '/api/v1/self/certificates'>['items'][number]

const words = texts.keys.certificate
const lifetimes = [1, 8, 24] as const

/** A certificate for some hours, for a key that is not to be registered; and those that are valid now. */
export function CertifyKey(props: {
  readonly stepUp: StepUp
  readonly say: (text: string) => void
  /** Changes with the person's keys: one that is removed takes its certificates with it. */
  readonly keys: unknown
}) {
  const { stepUp } = props
  const valid = useLoaded(async () => (await call('GET', '/api/v1/self/certificates')).items)
  const isFirst = useRef(true)
  useEffect(() => {
    if (!isFirst.current) void valid.reload()
    isFirst.current = false
  }, [props.keys])
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
      void valid.reload()
    })
  }
  const revoke = ({ id, serial }: Valid) =>
    attempt(async () => {
      await stepUp.confirmed(words.confirmRevoke(serial), () =>
        call('DELETE', '/api/v1/self/certificates/{id}', { params: { id } }),
      )
      props.say(words.revoked(serial))
      made.value = undefined
      void valid.reload()
    })
  return (
    <details class="more">
      <summary>
        {words.title}
        {valid.state.value.is === 'there' && words.count(valid.state.value.value.length)}
      </summary>
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
      <Part
        state={valid.state.value}
        loading={words.loading}
        failed={words.loadFailed}
        again={() => void valid.reload()}
      >
        {(certificates) =>
          certificates.length > 0 && <ValidNow certificates={certificates} onRevoke={revoke} />
        }
      </Part>
    </details>
  )
}

function ValidNow(props: {
  readonly certificates: readonly Valid[]
  readonly onRevoke: (one: Valid) => void
}) {
  const { key, issued, ends } = words.heads
  return (
    <StackedTable
      caption={words.caption}
      heads={[[key], [issued, 'fit'], [ends, 'fit']]}
      act={texts.act}
    >
      {props.certificates.map((one) => (
        <Row key={one.id} data={{ 'data-certificate': one.serial }}>
          <Cell>
            <b>{words.name(one.serial)}</b>
            <code class="small">{one.fingerprint}</code>
          </Cell>
          <Cell kind="fit" head={issued}>
            <Moment at={one.issuedAt} />
          </Cell>
          <Cell kind="fit" head={ends}>
            <Moment at={one.expiresAt} />
          </Cell>
          <Cell kind="act">
            <button type="button" onClick={() => props.onRevoke(one)}>
              {words.revoke}
              <span class="hide">{` ${words.name(one.serial)}`}</span>
            </button>
          </Cell>
        </Row>
      ))}
    </StackedTable>
  )
}
