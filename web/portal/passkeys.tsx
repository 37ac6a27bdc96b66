import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { call, type Reply } from '../shared/call.ts'
import { deviceWords } from '../shared/device-words.ts'
import type { Loaded } from '../shared/loaded.ts'
import { Failure, Loading, Moment, Outside, StackedTable } from '../shared/parts.tsx'
import { knowsPasskeys, makePasskey, PasskeyGivenUp, passkeyPlace } from '../shared/passkey.ts'
import { type StepUp, StepUpCancelled } from '../shared/step-up.tsx'
import { texts as common } from '../shared/texts.ts'
import { visible } from '../shared/visible.ts'
import { texts } from './security-texts.ts'

export type Passkey = Reply<'GET', '/api/v1/self/passkeys'>['items'][number]

interface PasskeysProps {
  readonly state: Loaded<readonly Passkey[]>
  readonly reload: () => void
  readonly stepUp: StepUp
  /** Says that something was done. */
  readonly say: (text: string) => void
}

const words = texts.passkeys

/** The person's passkeys. */
export function Passkeys(props: PasskeysProps) {
  const { state, reload } = props
  const isAdding = useSignal(false)
  const removed = useSignal<Passkey | undefined>(undefined)
  const trouble = troubleHere()
  return (
    <section class="card" id="passkeys">
      <div class="row">
        <h2>{words.title}</h2>
        {trouble === undefined && (
          <button type="button" class="strong end" onClick={() => open(isAdding)}>
            {words.add}
          </button>
        )}
      </div>
      {trouble !== undefined && <p class="notice warn">{trouble}</p>}
      {state.is === 'loading' && <Loading what={words.loading} />}
      {state.is === 'failed' && (
        <Failure what={words.loadFailed} error={state.error} again={reload} />
      )}
      {state.is === 'there' && (
        <List
          passkeys={state.value}
          onRemove={(one) => {
            removed.value = one
          }}
        />
      )}
      {isAdding.value && (
        <AddPasskey
          {...props}
          onClose={() => {
            isAdding.value = false
          }}
        />
      )}
      {removed.value && state.is === 'there' && (
        <RemovePasskey
          {...props}
          passkey={removed.value}
          isLast={state.value.length === 1}
          onClose={() => {
            removed.value = undefined
          }}
        />
      )}
    </section>
  )
}

/** Why no passkey can be added in this browser, at this address. */
function troubleHere(): string | undefined {
  if (!knowsPasskeys()) return words.unsupported
  const place = passkeyPlace()
  if (place === 'nowhere') return words.nowhere
  return place === 'localhost' ? words.localhost(`http://localhost:${location.port}`) : undefined
}

function open(flag: { value: boolean }): void {
  flag.value = true
}

function List(props: {
  readonly passkeys: readonly Passkey[]
  readonly onRemove: (passkey: Passkey) => void
}) {
  const { passkeys, onRemove } = props
  if (passkeys.length === 0) {
    return (
      <div class="notice warn">
        <p>
          <b>{words.none}</b> {words.noneHelp}
        </p>
      </div>
    )
  }
  const { name, added, used } = words.heads
  return (
    <>
      {passkeys.length === 1 && (
        <div class="notice warn">
          <p>
            <b>{words.one}</b> {words.oneHelp}
          </p>
        </div>
      )}
      <StackedTable
        caption={words.caption}
        heads={[[name], [added, 'fit'], [used, 'fit']]}
        act={texts.act}
      >
        {passkeys.map((one) => (
          // biome-ignore-start lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
          <tr key={one.id} role="row">
            <td role="cell">
              <b>
                <Outside text={one.name} />
              </b>
              <span class="small">{one.synced ? words.synced : words.local}</span>
            </td>
            <td role="cell" class="fit" data-l={added}>
              <Moment at={one.createdAt} />
            </td>
            <td role="cell" class="fit" data-l={used}>
              {one.usedAt === null ? texts.never : <Moment at={one.usedAt} />}
            </td>
            <td role="cell" class="act">
              <button type="button" onClick={() => onRemove(one)}>
                {words.remove}
                <span class="hide">{` ${visible(one.name)}`}</span>
              </button>
            </td>
          </tr>
          // biome-ignore-end lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
        ))}
      </StackedTable>
    </>
  )
}

function AddPasskey({ stepUp, reload, say, onClose }: PasskeysProps & { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const name = useSignal(deviceWords(navigator.userAgent))
  const error = useSignal<unknown>(undefined)
  useEffect(() => dialog.current?.showModal(), [])
  const add = async (event: Event) => {
    event.preventDefault()
    error.value = undefined
    try {
      const options = await stepUp.confirmed(words.dialog.act, () =>
        call('POST', '/api/v1/self/passkeys/options', { body: {} }),
      )
      const answer = await makePasskey<never>(options)
      const body = { name: name.value.trim(), answer }
      await call('POST', '/api/v1/self/passkeys', { body })
      say(words.added(visible(body.name)))
      reload()
      onClose()
    } catch (err) {
      error.value = err
    }
  }
  return (
    <dialog ref={dialog} aria-labelledby="add-passkey" onClose={onClose}>
      <form onSubmit={add}>
        <h2 id="add-passkey">{words.dialog.title}</h2>
        <div class="field">
          <label for="passkey-name">{words.dialog.name}</label>
          <input
            id="passkey-name"
            type="text"
            required
            maxLength={64}
            autocomplete="off"
            aria-describedby="passkey-name-help"
            defaultValue={name.value}
            onInput={(event) => {
              name.value = event.currentTarget.value
            }}
          />
          <p class="help" id="passkey-name-help">
            {words.dialog.nameHelp}
          </p>
        </div>
        <Trouble error={error.value} />
        <footer>
          <button type="button" onClick={() => dialog.current?.close()}>
            {common.cancel}
          </button>
          <button type="submit" class="strong">
            {words.dialog.next}
          </button>
        </footer>
      </form>
    </dialog>
  )
}

function RemovePasskey({
  stepUp,
  reload,
  say,
  passkey,
  isLast,
  onClose,
}: PasskeysProps & {
  readonly passkey: Passkey
  readonly isLast: boolean
  readonly onClose: () => void
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const error = useSignal<unknown>(undefined)
  useEffect(() => dialog.current?.showModal(), [])
  const { removal } = words
  const name = visible(passkey.name)
  const remove = async () => {
    error.value = undefined
    try {
      await stepUp.confirmed(removal.confirm(name), () =>
        call('DELETE', '/api/v1/self/passkeys/{id}', {
          params: { id: passkey.id },
          query: isLast ? { lastWayIn: 'true' } : {},
        }),
      )
      say(words.removed(name))
      reload()
      onClose()
    } catch (err) {
      error.value = err
    }
  }
  return (
    <dialog ref={dialog} aria-labelledby="remove-passkey" onClose={onClose}>
      <h2 id="remove-passkey">{removal.title(name)}</h2>
      {isLast && (
        <div class="notice bad">
          <p>
            <b>{removal.lastTitle}</b> {removal.last}
          </p>
        </div>
      )}
      <p>{removal.effect}</p>
      <Trouble error={error.value} />
      <footer>
        <button type="button" autofocus onClick={() => dialog.current?.close()}>
          {common.cancel}
        </button>
        <button type="button" class="danger strong" onClick={remove}>
          {removal.act}
        </button>
      </footer>
    </dialog>
  )
}

/** Why an act of this page was not done. */
export function Trouble({ error }: { readonly error: unknown }) {
  if (error === undefined) return null
  if (error instanceof StepUpCancelled || error instanceof PasskeyGivenUp) {
    const text = error instanceof StepUpCancelled ? texts.cancelled : words.givenUp
    return (
      <p class="notice warn" role="alert">
        {text}
      </p>
    )
  }
  return <Failure what={texts.failed} error={error} />
}
