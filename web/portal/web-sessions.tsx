import { useAttempt } from '../shared/attempt.ts'
import { call, type Reply } from '../shared/call.ts'
import { deviceWords } from '../shared/device-words.ts'
import { Part } from '../shared/loaded.tsx'
import { Moment, Outside } from '../shared/parts.tsx'
import { Cell, Row, StackedTable } from '../shared/table.tsx'
import { Trouble } from '../shared/trouble.tsx'
import { visible } from '../shared/visible.ts'
import type { SecurityPart } from './security-part.ts'
import { texts } from './security-texts.ts'

export type WebSession = Reply<'GET', '/api/v1/self/web-sessions'>['items'][number]

const words = texts.sessions

/** The browsers in which the person is signed in. */
export function WebSessions(props: Omit<SecurityPart<WebSession>, 'stepUp'>) {
  const { state, reload, say } = props
  const { error, attempt } = useAttempt()
  const act = async (todo: () => Promise<string>) => {
    await attempt(async () => say(await todo()))
    reload()
  }
  const end = (one: WebSession) =>
    act(async () => {
      await call('DELETE', '/api/v1/self/web-sessions/{id}', { params: { id: one.id } })
      return words.endedOne(visible(deviceWords(one.device)))
    })
  const endOthers = () =>
    act(async () => {
      const { ended } = await call('POST', '/api/v1/self/web-sessions/end-others', { body: {} })
      return words.ended(ended)
    })
  const hasOthers = state.is === 'there' && state.value.length > 1
  return (
    <section class="card" id="signed-in">
      <div class="row">
        <h2>{words.title}</h2>
        {hasOthers && (
          <button type="button" class="danger end" onClick={endOthers}>
            {words.endOthers}
          </button>
        )}
      </div>
      <Trouble error={error} />
      <Part state={state} loading={words.loading} failed={words.loadFailed} again={reload}>
        {(sessions) => <List sessions={sessions} onEnd={end} />}
      </Part>
    </section>
  )
}

function List(props: {
  readonly sessions: readonly WebSession[]
  readonly onEnd: (session: WebSession) => void
}) {
  const { device, source, since, seen } = words.heads
  return (
    <StackedTable
      caption={words.caption}
      heads={[[device], [source], [since, 'fit'], [seen, 'fit']]}
      act={texts.act}
    >
      {props.sessions.map((one) => (
        <Row key={one.id} isChosen={one.current}>
          <Cell>
            <b title={visible(one.device)}>
              <Outside text={deviceWords(one.device)} />
            </b>
            <span class="small">
              {[...(one.current ? [words.current] : []), words.by[one.proof]].join(', ')}
            </span>
          </Cell>
          <Cell head={source}>
            {one.source === '' ? words.unknown : <Outside text={one.source} />}
          </Cell>
          <Cell kind="fit" head={since}>
            <Moment at={one.createdAt} />
          </Cell>
          <Cell kind="fit" head={seen}>
            <Moment at={one.seenAt} />
          </Cell>
          <Cell kind="act">
            {!one.current && (
              <button type="button" onClick={() => props.onEnd(one)}>
                {words.end}
                <span class="hide">{` ${visible(deviceWords(one.device))}`}</span>
              </button>
            )}
          </Cell>
        </Row>
      ))}
    </StackedTable>
  )
}
