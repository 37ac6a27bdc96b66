import { useSignal } from '@preact/signals'
import { call, type Reply } from '../shared/call.ts'
import { deviceWords } from '../shared/device-words.ts'
import { AskDialog, type Field } from '../shared/dialog.tsx'
import { Part } from '../shared/loaded.tsx'
import { Moment, Outside } from '../shared/parts.tsx'
import { knowsPasskeys, makePasskey, passkeyPlace } from '../shared/passkey.ts'
import { Cell, Row, StackedTable } from '../shared/table.tsx'
import { visible } from '../shared/visible.ts'
import type { SecurityPart } from './security-part.ts'
import { texts } from './security-texts.ts'

export type Passkey = Reply<'GET', '/api/v1/self/passkeys'>['items'][number]

const words = texts.passkeys

/** The person's passkeys. */
export function Passkeys(props: SecurityPart<Passkey>) {
  const { state, reload } = props
  const isAdding = useSignal(false)
  const removed = useSignal<Passkey | undefined>(undefined)
  const trouble = troubleHere()
  return (
    <section class="card" id="passkeys">
      <div class="row">
        <h2>{words.title}</h2>
        {trouble === undefined && (
          <button
            type="button"
            class="strong end"
            onClick={() => {
              isAdding.value = true
            }}
          >
            {words.add}
          </button>
        )}
      </div>
      {trouble !== undefined && <p class="notice warn">{trouble}</p>}
      <Part state={state} loading={words.loading} failed={words.loadFailed} again={reload}>
        {(passkeys) => (
          <List
            passkeys={passkeys}
            onRemove={(one) => {
              removed.value = one
            }}
          />
        )}
      </Part>
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
          <Row key={one.id}>
            <Cell>
              <b>
                <Outside text={one.name} />
              </b>
              <span class="small">{one.synced ? words.synced : words.local}</span>
            </Cell>
            <Cell kind="fit" head={added}>
              <Moment at={one.createdAt} />
            </Cell>
            <Cell kind="fit" head={used}>
              {one.usedAt === null ? texts.never : <Moment at={one.usedAt} />}
            </Cell>
            <Cell kind="act">
              <button type="button" onClick={() => onRemove(one)}>
                {words.remove}
                <span class="hide">{` ${visible(one.name)}`}</span>
              </button>
            </Cell>
          </Row>
        ))}
      </StackedTable>
    </>
  )
}

function AddPasskey(props: SecurityPart<Passkey> & { readonly onClose: () => void }) {
  const { stepUp, reload, say, onClose } = props
  const { title, name, nameHelp, act, next } = words.dialog
  const add = async (field: Field) => {
    const options = await stepUp.confirmed(act, () =>
      call('POST', '/api/v1/self/passkeys/options', { body: {} }),
    )
    const body = { name: field('name'), answer: await makePasskey<never>(options) }
    await call('POST', '/api/v1/self/passkeys', { body })
    say(words.added(visible(body.name)))
    reload()
    onClose()
  }
  return (
    <AskDialog
      id="add-passkey"
      title={title}
      act={next}
      onAct={add}
      onClose={onClose}
      givenUp={words.givenUp}
    >
      <div class="field">
        <label for="passkey-name">{name}</label>
        <input
          id="passkey-name"
          name="name"
          type="text"
          required
          maxLength={64}
          autocomplete="off"
          aria-describedby="passkey-name-help"
          defaultValue={deviceWords(navigator.userAgent)}
        />
        <p class="help" id="passkey-name-help">
          {nameHelp}
        </p>
      </div>
    </AskDialog>
  )
}

function RemovePasskey(
  props: SecurityPart<Passkey> & {
    readonly passkey: Passkey
    readonly isLast: boolean
    readonly onClose: () => void
  },
) {
  const { stepUp, reload, say, passkey, isLast, onClose } = props
  const { title, lastTitle, last, effect, act, confirm } = words.removal
  const name = visible(passkey.name)
  const remove = async () => {
    await stepUp.confirmed(confirm(name), () =>
      call('DELETE', '/api/v1/self/passkeys/{id}', {
        params: { id: passkey.id },
        query: isLast ? { lastWayIn: 'true' } : {},
      }),
    )
    say(words.removed(name))
    reload()
    onClose()
  }
  return (
    <AskDialog
      id="remove-passkey"
      title={title(name)}
      act={act}
      isDanger
      onAct={remove}
      onClose={onClose}
    >
      {isLast && (
        <div class="notice bad">
          <p>
            <b>{lastTitle}</b> {last}
          </p>
        </div>
      )}
      <p>{effect}</p>
    </AskDialog>
  )
}
