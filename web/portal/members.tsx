import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useAttempt } from '../shared/attempt.ts'
import { call, type Reply } from '../shared/call.ts'
import { AskDialog, type Field, TypedName, useModal } from '../shared/dialog.tsx'
import { type Frame, show } from '../shared/frame.ts'
import { Keys } from '../shared/keys.tsx'
import { Part, useLoaded } from '../shared/loaded.tsx'
import { Line, Moment, Outside } from '../shared/parts.tsx'
import { type StepUp, useStepUp } from '../shared/step-up.tsx'
import { Cell, Row, StackedTable } from '../shared/table.tsx'
import { useToast } from '../shared/toast.tsx'
import { Trouble } from '../shared/trouble.tsx'
import { visible } from '../shared/visible.ts'
import { texts } from './members-texts.ts'
import { Settings } from './settings.tsx'

type Member = Reply<'GET', '/api/v1/members'>['items'][number]
type Role = Member['role']
type Invitation = Reply<'POST', '/api/v1/members/{id}/invitation'>

/** What stands in front of the page. */
type Front =
  | { readonly is: 'invite' }
  | { readonly is: 'role'; readonly member: Member }
  | { readonly is: 'remove'; readonly member: Member }
  | { readonly is: 'link'; readonly name: string; readonly invitation: Invitation }

function MembersPage({ frame }: { readonly frame: Frame }) {
  const stepUp = useStepUp()
  const toast = useToast()
  const { state, reload } = useLoaded(async () => (await call('GET', '/api/v1/members')).items)
  const front = useSignal<Front | undefined>(undefined)
  const { error, attempt } = useAttempt()
  const close = () => {
    front.value = undefined
  }
  const inviteAgain = ({ id, name }: Member) =>
    attempt(async () => {
      const invitation = await stepUp.confirmed(texts.link.again(visible(name)), () =>
        call('POST', '/api/v1/members/{id}/invitation', { params: { id }, body: {} }),
      )
      front.value = { is: 'link', name, invitation }
    })
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
      <Trouble error={error} />
      <Part state={state.value} loading={texts.loading} failed={texts.loadFailed} again={done}>
        {(members) => (
          <List
            frame={frame}
            members={members}
            onInvite={inviteAgain}
            onRole={(member) => {
              front.value = { is: 'role', member }
            }}
            onRemove={(member) => {
              front.value = { is: 'remove', member }
            }}
          />
        )}
      </Part>
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
      {front.value?.is === 'role' && (
        <ChangeRole
          frame={frame}
          member={front.value.member}
          stepUp={stepUp}
          onClose={close}
          onChanged={(name, role) => {
            toast.say(texts.change.done(name, texts.roles[role]))
            close()
            done()
          }}
        />
      )}
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
  readonly onRole: (member: Member) => void
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
        <Row key={one.id} data={{ 'data-member': one.name }}>
          <Cell>
            <b>
              <Outside text={one.name} />
            </b>
            {one.email !== null && (
              <span class="small">
                <Outside text={one.email} />
              </span>
            )}
          </Cell>
          <Cell kind="fit" head={role}>
            {texts.roles[one.role]}
          </Cell>
          <Cell kind="fit" head={seen}>
            <Seen member={one} isYou={one.name === frame.user} />
          </Cell>
          <Cell head={ways}>{texts.ways(one.passkeys, one.keys)}</Cell>
          <Cell kind="act">
            {mayChange(frame, one) && (
              <>
                {one.isInvited && (
                  <button type="button" onClick={() => props.onInvite(one)}>
                    {texts.inviteAgain}
                    <span class="hide">{` ${visible(one.name)}`}</span>
                  </button>
                )}
                <button type="button" onClick={() => props.onRole(one)}>
                  {texts.changeRole}
                  <span class="hide">{` ${texts.of} ${visible(one.name)}`}</span>
                </button>
                <button type="button" onClick={() => props.onRemove(one)}>
                  {texts.remove}
                  <span class="hide">{` ${visible(one.name)}`}</span>
                </button>
              </>
            )}
          </Cell>
        </Row>
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
  const roles = rolesOf(props.frame)
  const invite = async (field: Field) => {
    const role = roles.find((one) => one === field('role')) ?? 'member'
    const email = field('email')
    const body = { name: field('name'), role, ...(email !== '' && { email }) }
    const { member, invitation } = await props.stepUp.confirmed(texts.dialog.confirm, () =>
      call('POST', '/api/v1/members', { body }),
    )
    props.onInvited(member.name, invitation)
  }
  const { title, name, nameHelp, email, emailHelp, role, act } = texts.dialog
  return (
    <AskDialog id="invite-title" title={title} act={act} onAct={invite} onClose={props.onClose}>
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
      <Roles legend={role} roles={roles} chosen="member" />
    </AskDialog>
  )
}

/** Those that the person may give. The server decides. */
function rolesOf({ role }: Frame): readonly Role[] {
  return (['member', 'auditor', 'admin', 'owner'] as const).filter(
    (one) => one !== 'owner' || role === 'owner',
  )
}

function Roles(props: {
  readonly legend: string
  readonly roles: readonly Role[]
  readonly chosen: Role
}) {
  return (
    <fieldset>
      <legend class="label">{props.legend}</legend>
      {props.roles.map((one) => (
        <label key={one} class="choice">
          <input type="radio" name="role" value={one} defaultChecked={one === props.chosen} />
          <b>{texts.roles[one]}</b> <span class="quiet">{texts.roleHelp[one]}</span>
        </label>
      ))}
    </fieldset>
  )
}

function ChangeRole(props: {
  readonly frame: Frame
  readonly member: Member
  readonly stepUp: StepUp
  readonly onClose: () => void
  readonly onChanged: (name: string, role: Role) => void
}) {
  const { id, role: before } = props.member
  const name = visible(props.member.name)
  const roles = rolesOf(props.frame)
  const { title, effect, act, confirm } = texts.change
  const change = async (field: Field) => {
    const role = roles.find((one) => one === field('role')) ?? before
    if (role === before) return props.onClose()
    await props.stepUp.confirmed(confirm(name), () =>
      call('PATCH', '/api/v1/members/{id}', { params: { id }, body: { role } }),
    )
    props.onChanged(name, role)
  }
  return (
    <AskDialog id="role-title" title={title(name)} act={act} onAct={change} onClose={props.onClose}>
      <p>{effect}</p>
      <Roles legend={texts.dialog.role} roles={roles} chosen={before} />
    </AskDialog>
  )
}

/** The secret stays until the person says that it is kept. */
function Link(props: {
  readonly name: string
  readonly invitation: Invitation
  readonly onClose: () => void
}) {
  const dialog = useModal()
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
  const isWrong = useSignal(false)
  const { title, effect, act, confirm } = texts.removal
  const name = visible(props.member.name)
  const remove = async (field: Field) => {
    isWrong.value = field('name') !== props.member.name
    if (isWrong.value) return
    await props.stepUp.confirmed(confirm(name), () =>
      call('DELETE', '/api/v1/members/{id}', { params: { id: props.member.id } }),
    )
    props.onRemoved(name)
  }
  return (
    <AskDialog
      id="remove-title"
      title={title(name)}
      act={act}
      isDanger
      onAct={remove}
      onClose={props.onClose}
    >
      <p>{effect}</p>
      <TypedName id="remove-name" name={name} isWrong={isWrong.value} />
    </AskDialog>
  )
}

show((frame) => <MembersPage frame={frame} />)
