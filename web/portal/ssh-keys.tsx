import { useSignal } from '@preact/signals'
import { call, type Reply } from '../shared/call.ts'
import { AskDialog, type Field } from '../shared/dialog.tsx'
import { Part } from '../shared/loaded.tsx'
import { Copy, Line, Moment, Outside } from '../shared/parts.tsx'
import { Cell, Row, StackedTable } from '../shared/table.tsx'
import { texts as common } from '../shared/texts.ts'
import { visible } from '../shared/visible.ts'
import { CertifyKey } from './certify-key.tsx'
import { PublicKeyField, usePublicKey } from './public-key-field.tsx'
import type { SecurityPart } from './security-part.ts'
import { texts } from './security-texts.ts'

export type SshKey = Reply<'GET', '/api/v1/self/keys'>['items'][number]

const words = texts.keys

/** The keys that the person's own ssh may show. */
export function SshKeys(props: SecurityPart<SshKey>) {
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
      <Part state={state} loading={words.loading} failed={words.loadFailed} again={reload}>
        {(keys) =>
          keys.length === 0 ? (
            <div class="notice">
              <p>{words.none}</p>
            </div>
          ) : (
            <List
              keys={keys}
              onRemove={(one) => {
                removed.value = one
              }}
            />
          )
        }
      </Part>
      <CertifyKey stepUp={props.stepUp} say={props.say} keys={props.state} />
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
        <Row key={one.id}>
          <Cell>
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
          </Cell>
          <Cell kind="fit" head={type}>
            <Outside text={one.type} />
            {one.verifyRequired && <span class="small">{words.verifies}</span>}
          </Cell>
          <Cell kind="fit" head={used}>
            {one.usedAt === null ? texts.never : <Moment at={one.usedAt} />}
          </Cell>
          <Cell kind="fit" head={ends}>
            {one.expiresAt === null ? texts.never : <Moment at={one.expiresAt} />}
            {hasEnded(one) && <span class="state bad">{words.ended}</span>}
          </Cell>
          <Cell kind="act">
            <button type="button" onClick={() => props.onRemove(one)}>
              {words.remove}
              <span class="hide">{` ${visible(nameOf(one))}`}</span>
            </button>
          </Cell>
        </Row>
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

function AddKey(props: SecurityPart<SshKey> & { readonly onClose: () => void }) {
  const { stepUp, reload, say, onClose } = props
  const publicKey = usePublicKey()
  const isHardware = useSignal(false)
  const look = (line: string) => {
    isHardware.value = line.trim().startsWith('sk-')
  }
  const take = async (file: File | undefined) => {
    await publicKey.take(file)
    look(publicKey.area.current?.value ?? '')
  }
  const add = async (field: Field) => {
    const line = publicKey.read()
    if (line === undefined) return
    const [name, ends] = [field('name'), field('ends')]
    const body = {
      line,
      ...(name !== '' && { name }),
      ...(ends !== '' && { expiresAt: new Date(`${ends}T00:00`).toISOString() }),
      ...(isHardware.value && field('verify') === 'on' && { verifyRequired: true }),
    }
    const added = await stepUp.confirmed(words.dialog.confirm, () =>
      call('POST', '/api/v1/self/keys', { body }),
    )
    say(words.added(visible(nameOf(added))))
    reload()
    onClose()
  }
  const { title, lineHelp, show, make, makeOne, makeSk, file, nameHelp, endsHelp, verify, act } =
    words.dialog
  return (
    <AskDialog id="add-key" title={title} act={act} onAct={add} onClose={onClose} onFile={take}>
      <div class="field">
        <PublicKeyField
          id="key-line"
          publicKey={publicKey}
          rows={4}
          help={lineHelp}
          onInput={look}
        />
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
    </AskDialog>
  )
}

function RemoveKey(
  props: SecurityPart<SshKey> & { readonly sshKey: SshKey; readonly onClose: () => void },
) {
  const { stepUp, reload, say, sshKey, onClose } = props
  const { title, effect, act, confirm } = words.removal
  const name = visible(nameOf(sshKey))
  const remove = async () => {
    await stepUp.confirmed(confirm(name), () =>
      call('DELETE', '/api/v1/self/keys/{id}', { params: { id: sshKey.id } }),
    )
    say(words.removed(name))
    reload()
    onClose()
  }
  return (
    <AskDialog
      id="remove-key"
      title={title(name)}
      act={act}
      isDanger
      onAct={remove}
      onClose={onClose}
    >
      <p>{effect}</p>
    </AskDialog>
  )
}
