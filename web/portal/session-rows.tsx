import type { Frame } from '../shared/frame.ts'
import { formatBytes, formatDuration } from '../shared/moments.ts'
import { EndState, Moment, Outside } from '../shared/parts.tsx'
import { describeEnding, describeKind } from '../shared/session-words.ts'
import { Cell, type Head, Row, StackedTable } from '../shared/table.tsx'
import { texts as common } from '../shared/texts.ts'
import { visible } from '../shared/visible.ts'
import { mayEnd } from './end-session.tsx'
import type { Session } from './session-list.ts'
import { texts } from './sessions-texts.ts'

/** The sessions as a table. */
export function SessionTable(props: {
  readonly sessions: readonly Session[]
  readonly frame: Frame
  readonly onEnd: (session: Session) => void
}) {
  const { who, what, started, ended, duration, bytes, act } = texts.heads
  const heads: readonly Head[] = [
    [who],
    [what],
    [started, 'fit'],
    [ended],
    [duration, 'r'],
    [bytes, 'r'],
  ]
  return (
    <StackedTable caption={texts.caption} heads={heads} act={act}>
      {props.sessions.map((session) => (
        <SessionRow key={session.id} {...props} session={session} />
      ))}
    </StackedTable>
  )
}

function SessionRow(props: {
  readonly session: Session
  readonly frame: Frame
  readonly onEnd: (session: Session) => void
}) {
  const { session, frame, onEnd } = props
  const { id, user, login, target, startedAt, bytes } = session
  const { started, duration, bytes: size } = texts.heads
  const whose = ` ${visible(user)} ${texts.on} ${visible(target)}`
  return (
    <Row data={{ 'data-session': id }}>
      <Cell>
        <b>
          <Outside text={user} />
        </b>{' '}
        {texts.on} <Outside text={`${login}@${target}`} />
      </Cell>
      <Cell kind="cut">
        <What session={session} />
      </Cell>
      <Cell kind="fit" head={started}>
        <Moment at={startedAt} />
      </Cell>
      <Cell>
        <EndState ending={describeEnding(session)} />
      </Cell>
      <Cell kind="r" head={duration}>
        {durationOf(session)}
      </Cell>
      <Cell kind="r" head={size}>
        {bytes === null ? (session.live ? '–' : common.unknown) : formatBytes(bytes)}
      </Cell>
      <Cell kind="act">
        <a class="button" href={`/sessions/${id}`}>
          {actOf(session)}
          <span class="hide">{whose}</span>
        </a>
        {mayEnd(frame, session) && (
          <button type="button" class="danger" onClick={() => onEnd(session)}>
            {texts.end}
            <span class="hide">{whose}</span>
          </button>
        )}
      </Cell>
    </Row>
  )
}

/** The command that ran, or what kind of session it is. */
export function What({ session: { kind, command } }: { readonly session: Session }) {
  if (command === undefined) return <>{describeKind(kind)}</>
  return (
    <code>
      <Outside text={command} />
    </code>
  )
}

/** So far, for a live one. */
export function durationOf({ startedAt, endedAt, live }: Session): string {
  if (endedAt === null && !live) return common.unknown
  const end = endedAt === null ? Date.now() : Date.parse(endedAt)
  return formatDuration(end - Date.parse(startedAt))
}

function actOf({ live, recording, kind }: Session): string {
  if (live) return texts.acts.live
  if (!recording) return texts.acts.none
  return kind === 'exec' ? texts.acts.exec : texts.acts.shell
}
