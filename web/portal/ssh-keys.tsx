import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { call, type Reply } from '../shared/call.ts'
import type { Loaded } from '../shared/loaded.ts'
import { Copy, Failure, Line, Loading, Moment, Outside, StackedTable } from '../shared/parts.tsx'
import type { StepUp } from '../shared/step-up.tsx'
import { texts as common } from '../shared/texts.ts'
import { visible } from '../shared/visible.ts'
import { CertifyKey } from './certify-key.tsx'
import { Trouble } from './passkeys.tsx'
import { isPublic, problemOfLine } from './public-key-line.ts'
import { texts } from './security-texts.ts'

export type SshKey = Reply<'GET', '/api/v1/self/keys'>['items'][number]

interface SshKeysProps {
  readonly state: Loaded<readonly SshKey[]>
  readonly reload: () => void
  readonly stepUp: StepUp
  /** Says that something was done. */
  readonly say: (text: string) => void
}

const words = texts.keys
/** Longer than any line of a public key that the server takes. */
const fileBytesMax = 16_384

/** The keys that the person's own ssh may show. */
export function SshKeys(props: SshKeysProps) {
  const { state, reload } = props
  const isAdding = useSignal(false)
  const removed = useSignal<SshKey | undefined>(undefined)
  return (
    <section class="card" id="ssh-keys">
      <div class="row">
        <h2>{words.title}</h2>
        <button
          type="button"
          class="end"
          onClick={() => {
            isAdding.value = true
          }}
        >
          {words.add}
        </button>
      </div>
      <p class="quiet">{words.lead}</p>
      {state.is === 'loading' && <Loading what={words.loading} />}
      {state.is === 'failed' && (
        <Failure what={words.loadFailed} error={state.error} again={reload} />
      )}
      {state.is === 'there' && state.value.length === 0 && (
        <div class="notice">
          <p>{words.none}</p>
        </div>
      )}
      {state.is === 'there' && state.value.length > 0 && (
        <List
          keys={state.value}
          onRemove={(one) => {
            removed.value = one
          }}
        />
      )}
      <CertifyKey stepUp={props.stepUp} />
      {isAdding.value && (
        <AddKey
          {...props}
          onClose={() => {
            isAdding.value = false
          }}
        />
      )}
      {removed.value && (
        <RemoveKey
          {...props}
          sshKey={removed.value}
          onClose={() => {
            removed.value = undefined
          }}
        />
      )}
    </section>
  )
}

function List(props: {
  readonly keys: readonly SshKey[]
  readonly onRemove: (key: SshKey) => void
}) {
  const { name, type, used, ends } = words.heads
  return (
    <StackedTable
      caption={words.caption}
      heads={[[name], [type, 'fit'], [used, 'fit'], [ends, 'fit']]}
      act={texts.act}
    >
      {props.keys.map((one) => (
        // biome-ignore-start lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
        <tr key={one.id} role="row">
          <td role="cell">
            <b>
              <Outside text={nameOf(one)} />
            </b>
            <span class="small mono">
              {shortened(one.fingerprint)}{' '}
              <Copy
                text={() => one.fingerprint}
                label={common.copy}
                name={common.copyThe(one.fingerprint)}
                plain
              />
            </span>
            {!one.intact && <span class="state bad">{texts.notIntact}</span>}
          </td>
          <td role="cell" class="fit" data-l={type}>
            <Outside text={one.type} />
            {one.verifyRequired && <span class="small">{words.verifies}</span>}
          </td>
          <td role="cell" class="fit" data-l={used}>
            {one.usedAt === null ? texts.never : <Moment at={one.usedAt} />}
          </td>
          <td role="cell" class="fit" data-l={ends}>
            {one.expiresAt === null ? texts.never : <Moment at={one.expiresAt} />}
            {hasEnded(one) && <span class="state bad">{words.ended}</span>}
          </td>
          <td role="cell" class="act">
            <button type="button" onClick={() => props.onRemove(one)}>
              {words.remove}
              <span class="hide">{` ${visible(nameOf(one))}`}</span>
            </button>
          </td>
        </tr>
        // biome-ignore-end lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
      ))}
    </StackedTable>
  )
}

function nameOf({ name, type }: SshKey): string {
  return name === '' ? type : name
}

function hasEnded({ expiresAt }: SshKey): boolean {
  return expiresAt !== null && new Date(expiresAt) <= new Date()
}

/** Enough to know a key by. Copying gives all of it. */
function shortened(fingerprint: string): string {
  return `${fingerprint.slice(0, 13)}…${fingerprint.slice(-4)}`
}

function AddKey({ stepUp, reload, say, onClose }: SshKeysProps & { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const area = useRef<HTMLTextAreaElement>(null)
  const wrong = useSignal<string | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const isHardware = useSignal(false)
  useEffect(() => dialog.current?.showModal(), [])
  const look = (line: string) => {
    isHardware.value = line.trim().startsWith('sk-')
  }
  const take = async (file: File | undefined) => {
    if (file === undefined || area.current === null) return
    if (file.size > fileBytesMax) {
      wrong.value = words.wrong.large
      return
    }
    const line = (await file.text()).trim()
    wrong.value = problemOfLine(line)
    // What is no public key is not put on the page either.
    area.current.value = wrong.value === undefined ? line : ''
    look(area.current.value)
  }
  const add = async (event: SubmitEvent) => {
    event.preventDefault()
    if (!(event.currentTarget instanceof HTMLFormElement)) return
    const fields = new FormData(event.currentTarget)
    const field = (name: string) => `${fields.get(name) ?? ''}`.trim()
    const line = field('line')
    wrong.value = problemOfLine(line)
    error.value = undefined
    if (wrong.value !== undefined) {
      // A secret does not stay in a field.
      if (!isPublic(line) && area.current !== null) area.current.value = ''
      area.current?.focus()
      return
    }
    const [name, ends] = [field('name'), field('ends')]
    const body = {
      line,
      ...(name !== '' && { name }),
      ...(ends !== '' && { expiresAt: new Date(`${ends}T00:00`).toISOString() }),
      ...(isHardware.value && field('verify') === 'on' && { verifyRequired: true }),
    }
    try {
      const added = await stepUp.confirmed(words.dialog.confirm, () =>
        call('POST', '/api/v1/self/keys', { body }),
      )
      say(words.added(visible(nameOf(added))))
      reload()
      onClose()
    } catch (err) {
      error.value = err
    }
  }
  const { title, lineHelp, show, make, makeOne, makeSk, file, nameHelp, endsHelp, verify, act } =
    words.dialog
  return (
    <dialog ref={dialog} aria-labelledby="add-key" onClose={onClose}>
      <form
        onSubmit={add}
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault()
          void take(event.dataTransfer?.files[0])
        }}
      >
        <h2 id="add-key">{title}</h2>
        <div class="field">
          <label for="key-line">{words.dialog.line}</label>
          <textarea
            ref={area}
            id="key-line"
            name="line"
            rows={4}
            spellcheck={false}
            autocomplete="off"
            aria-invalid={wrong.value !== undefined}
            aria-describedby="key-line-help key-line-wrong"
            onInput={(event) => look(event.currentTarget.value)}
          />
          <p class="help" id="key-line-help">
            {lineHelp}
          </p>
          <p class="wrong" id="key-line-wrong" role="status">
            {wrong.value ?? ''}
          </p>
          <div class="row">
            <input
              id="key-file"
              class="hide"
              type="file"
              accept=".pub,text/plain"
              onChange={(event) => void take(event.currentTarget.files?.[0])}
            />
            <label class="button" for="key-file">
              {file}
            </label>
          </div>
        </div>
        <div class="split">
          <div class="field">
            <label for="key-name">{words.dialog.name}</label>
            <input
              id="key-name"
              name="name"
              type="text"
              maxLength={64}
              autocomplete="off"
              aria-describedby="key-name-help"
            />
            <p class="help" id="key-name-help">
              {nameHelp}
            </p>
          </div>
          <div class="field">
            <label for="key-ends">{words.dialog.ends}</label>
            <input id="key-ends" name="ends" type="date" aria-describedby="key-ends-help" />
            <p class="help" id="key-ends-help">
              {endsHelp}
            </p>
          </div>
        </div>
        {isHardware.value && (
          <label class="choice">
            <input type="checkbox" name="verify" />
            {verify}
          </label>
        )}
        <details class="more">
          <summary>{make}</summary>
          <Line label={show} text="cat ~/.ssh/id_ed25519.pub" />
          <Line label={makeOne} text="ssh-keygen -t ed25519" />
          <Line label={makeSk} text="ssh-keygen -t ed25519-sk -O verify-required" />
        </details>
        <Trouble error={error.value} />
        <footer>
          <button type="button" onClick={() => dialog.current?.close()}>
            {common.cancel}
          </button>
          <button type="submit" class="strong">
            {act}
          </button>
        </footer>
      </form>
    </dialog>
  )
}

function RemoveKey({
  stepUp,
  reload,
  say,
  sshKey,
  onClose,
}: SshKeysProps & { readonly sshKey: SshKey; readonly onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const error = useSignal<unknown>(undefined)
  useEffect(() => dialog.current?.showModal(), [])
  const { removal } = words
  const name = visible(nameOf(sshKey))
  const remove = async () => {
    error.value = undefined
    try {
      await stepUp.confirmed(removal.confirm(name), () =>
        call('DELETE', '/api/v1/self/keys/{id}', { params: { id: sshKey.id } }),
      )
      say(words.removed(name))
      reload()
      onClose()
    } catch (err) {
      error.value = err
    }
  }
  return (
    <dialog ref={dialog} aria-labelledby="remove-key" onClose={onClose}>
      <h2 id="remove-key">{removal.title(name)}</h2>
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
