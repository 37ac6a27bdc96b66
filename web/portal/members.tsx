import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { call, type Reply } from '../shared/call.ts'
import { type Frame, show } from '../shared/frame.ts'
import { Keys } from '../shared/keys.tsx'
import { useLoaded } from '../shared/loaded.ts'
import { Failure, Line, Loading, Moment, Outside, StackedTable } from '../shared/parts.tsx'
import { type StepUp, useStepUp } from '../shared/step-up.tsx'
import { texts as common } from '../shared/texts.ts'
import { useToast } from '../shared/toast.tsx'
import { visible } from '../shared/visible.ts'
import { texts } from './members-texts.ts'
import { Trouble } from './passkeys.tsx'
import { Settings } from './settings.tsx'

type Member = Reply<'GET', '/api/v1/members'>['items'][number]
type Invitation = Reply<'POST', '/api/v1/members/{id}/invitation'>

/** What stands in front of the page. */
type Front =
  | { readonly is: 'invite' }
  | { readonly is: 'remove'; readonly member: Member }
  | { readonly is: 'link'; readonly name: string; readonly invitation: Invitation }

function MembersPage({ frame }: { readonly frame: Frame }) {
  const stepUp = useStepUp()
  const toast = useToast()
  const { state, reload } = useLoaded(async () => (await call('GET', '/api/v1/members')).items)
  const front = useSignal<Front | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const close = () => {
    front.value = undefined
  }
  const inviteAgain = async ({ id, name }: Member) => {
    error.value = undefined
    try {
      const invitation = await stepUp.confirmed(texts.link.again(visible(name)), () =>
        call('POST', '/api/v1/members/{id}/invitation', { params: { id }, body: {} }),
      )
      front.value = { is: 'link', name, invitation }
    } catch (err) {
      error.value = err
    }
  }
  const done = () => void reload()
  return (
    <Settings frame={frame} current="members">
      <div class="head">
        <div>
          <h1>{texts.title}</h1>
          <p class="quiet">{texts.lead(frame.tenant)}</p>
        </div>
        {frame.members === 'change' && (
          <button
            type="button"
            class="strong end"
            onClick={() => {
              front.value = { is: 'invite' }
            }}
          >
            {texts.invite}
          </button>
        )}
      </div>
      <Trouble error={error.value} />
      {state.value.is === 'loading' && <Loading what={texts.loading} />}
      {state.value.is === 'failed' && (
        <Failure what={texts.loadFailed} error={state.value.error} again={done} />
      )}
      {state.value.is === 'there' && (
        <List
          frame={frame}
          members={state.value.value}
          onInvite={inviteAgain}
          onRemove={(member) => {
            front.value = { is: 'remove', member }
          }}
        />
      )}
      {front.value?.is === 'invite' && (
        <Invite
          frame={frame}
          stepUp={stepUp}
          onClose={() => {
            if (front.value?.is === 'invite') close()
          }}
          onInvited={(name, invitation) => {
            front.value = { is: 'link', name, invitation }
            done()
          }}
        />
      )}
      {front.value?.is === 'link' && <Link {...front.value} onClose={close} />}
      {front.value?.is === 'remove' && (
        <Remove
          member={front.value.member}
          stepUp={stepUp}
          onClose={close}
          onRemoved={(name) => {
            toast.say(texts.removed(name))
            close()
            done()
          }}
        />
      )}
      {stepUp.dialog}
      {toast.place}
      <Keys />
    </Settings>
  )
}

function List(props: {
  readonly frame: Frame
  readonly members: readonly Member[]
  readonly onInvite: (member: Member) => void
  readonly onRemove: (member: Member) => void
}) {
  const { frame, members } = props
  const { name, role, seen, ways } = texts.heads
  return (
    <StackedTable
      caption={texts.caption}
      heads={[[name], [role, 'fit'], [seen, 'fit'], [ways]]}
      act={texts.act}
    >
      {members.map((one) => (
        // biome-ignore-start lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
        <tr key={one.id} role="row" data-member={one.name}>
          <td role="cell">
            <b>
              <Outside text={one.name} />
            </b>
            {one.email !== null && (
              <span class="small">
                <Outside text={one.email} />
              </span>
            )}
          </td>
          <td role="cell" class="fit" data-l={role}>
            {texts.roles[one.role]}
          </td>
          <td role="cell" class="fit" data-l={seen}>
            <Seen member={one} isYou={one.name === frame.user} />
          </td>
          <td role="cell" data-l={ways}>
            {texts.ways(one.passkeys, one.keys)}
          </td>
          <td role="cell" class="act">
            {mayChange(frame, one) && (
              <>
                {one.isInvited && (
                  <button type="button" onClick={() => props.onInvite(one)}>
                    {texts.inviteAgain}
                    <span class="hide">{` ${visible(one.name)}`}</span>
                  </button>
                )}
                <button type="button" onClick={() => props.onRemove(one)}>
                  {texts.remove}
                  <span class="hide">{` ${visible(one.name)}`}</span>
                </button>
              </>
            )}
          </td>
        </tr>
        // biome-ignore-end lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
      ))}
    </StackedTable>
  )
}

/** Whether the page offers it. The server decides. */
function mayChange({ members, user, role }: Frame, one: Member): boolean {
  return members === 'change' && one.name !== user && (role === 'owner' || one.role !== 'owner')
}

function Seen(props: { readonly member: Member; readonly isYou: boolean }): ComponentChildren {
  const { member, isYou } = props
  if (isYou) return <span class="state good">{texts.you}</span>
  if (member.isInvited) return <span class="state wait">{texts.invited}</span>
  return member.seenAt === null ? texts.notSeen : <Moment at={member.seenAt} />
}

function Invite(props: {
  readonly frame: Frame
  readonly stepUp: StepUp
  readonly onClose: () => void
  readonly onInvited: (name: string, invitation: Invitation) => void
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const error = useSignal<unknown>(undefined)
  useEffect(() => dialog.current?.showModal(), [])
  const roles = (['member', 'auditor', 'admin', 'owner'] as const).filter(
    (role) => role !== 'owner' || props.frame.role === 'owner',
  )
  const invite = async (event: SubmitEvent) => {
    event.preventDefault()
    if (!(event.currentTarget instanceof HTMLFormElement)) return
    const fields = new FormData(event.currentTarget)
    const field = (name: string) => `${fields.get(name) ?? ''}`.trim()
    const role = roles.find((one) => one === field('role')) ?? 'member'
    const email = field('email')
    const body = { name: field('name'), role, ...(email !== '' && { email }) }
    error.value = undefined
    try {
      const { member, invitation } = await props.stepUp.confirmed(texts.dialog.confirm, () =>
        call('POST', '/api/v1/members', { body }),
      )
      props.onInvited(member.name, invitation)
    } catch (err) {
      error.value = err
    }
  }
  const { title, name, nameHelp, email, emailHelp, role, act } = texts.dialog
  return (
    <dialog ref={dialog} aria-labelledby="invite-title" onClose={props.onClose}>
      <form onSubmit={invite}>
        <h2 id="invite-title">{title}</h2>
        <div class="field">
          <label for="invite-name">{name}</label>
          <input
            id="invite-name"
            name="name"
            type="text"
            required
            maxLength={32}
            pattern="[a-z0-9][a-z0-9\-]*"
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            aria-describedby="invite-name-help"
          />
          <p class="help" id="invite-name-help">
            {nameHelp}
          </p>
        </div>
        <div class="field">
          <label for="invite-email">{email}</label>
          <input
            id="invite-email"
            name="email"
            type="email"
            maxLength={254}
            autocomplete="off"
            aria-describedby="invite-email-help"
          />
          <p class="help" id="invite-email-help">
            {emailHelp}
          </p>
        </div>
        <fieldset>
          <legend class="label">{role}</legend>
          {roles.map((one) => (
            <label key={one} class="choice">
              <input type="radio" name="role" value={one} defaultChecked={one === 'member'} />
              <b>{texts.roles[one]}</b> <span class="quiet">{texts.roleHelp[one]}</span>
            </label>
          ))}
        </fieldset>
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

/** The secret stays until the person says that it is kept. */
function Link(props: {
  readonly name: string
  readonly invitation: Invitation
  readonly onClose: () => void
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => dialog.current?.showModal(), [])
  const { title, lead, label, until, once, close } = texts.link
  return (
    <dialog
      ref={dialog}
      aria-labelledby="link-title"
      onCancel={(event) => event.preventDefault()}
      onClose={props.onClose}
    >
      <h2 id="link-title">{title(visible(props.name))}</h2>
      <p>{lead}</p>
      <Line label={label} text={props.invitation.url} />
      <p class="help">
        {until} <Moment at={props.invitation.expiresAt} />. {once}
      </p>
      <footer>
        <button type="button" class="strong" onClick={() => dialog.current?.close()}>
          {close}
        </button>
      </footer>
    </dialog>
  )
}

function Remove(props: {
  readonly member: Member
  readonly stepUp: StepUp
  readonly onClose: () => void
  readonly onRemoved: (name: string) => void
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const error = useSignal<unknown>(undefined)
  const isWrong = useSignal(false)
  useEffect(() => dialog.current?.showModal(), [])
  const { removal } = texts
  const name = visible(props.member.name)
  const remove = async (event: SubmitEvent) => {
    event.preventDefault()
    if (!(event.currentTarget instanceof HTMLFormElement)) return
    const typed = `${new FormData(event.currentTarget).get('name') ?? ''}`.trim()
    isWrong.value = typed !== props.member.name
    error.value = undefined
    if (isWrong.value) return
    try {
      await props.stepUp.confirmed(removal.confirm(name), () =>
        call('DELETE', '/api/v1/members/{id}', { params: { id: props.member.id } }),
      )
      props.onRemoved(name)
    } catch (err) {
      error.value = err
    }
  }
  return (
    <dialog ref={dialog} aria-labelledby="remove-title" onClose={props.onClose}>
      <form onSubmit={remove}>
        <h2 id="remove-title">{removal.title(name)}</h2>
        <p>{removal.effect}</p>
        <div class="field">
          <label for="remove-name">{removal.type(name)}</label>
          <input
            id="remove-name"
            name="name"
            type="text"
            autocomplete="off"
            aria-invalid={isWrong.value}
            aria-describedby="remove-wrong"
          />
          <p class="wrong" id="remove-wrong" role="status">
            {isWrong.value ? removal.mismatch(name) : ''}
          </p>
        </div>
        <Trouble error={error.value} />
        <footer>
          <button type="button" autofocus onClick={() => dialog.current?.close()}>
            {common.cancel}
          </button>
          <button type="submit" class="danger strong">
            {removal.act}
          </button>
        </footer>
      </form>
    </dialog>
  )
}

show((frame) => <MembersPage frame={frame} />)
