import { useSignal } from '@preact/signals'
import { call, type Reply } from '../shared/call.ts'
import { deviceWords } from '../shared/device-words.ts'
import type { Loaded } from '../shared/loaded.ts'
import { Failure, Loading, Moment, Outside, StackedTable } from '../shared/parts.tsx'
import { visible } from '../shared/visible.ts'
import { Trouble } from './passkeys.tsx'
import { texts } from './security-texts.ts'

export type WebSession = Reply<'GET', '/api/v1/self/web-sessions'>['items'][number]

const words = texts.sessions

/** The browsers in which the person is signed in. */
export function WebSessions(props: {
  readonly state: Loaded<readonly WebSession[]>
  readonly reload: () => void
  readonly say: (text: string) => void
}) {
  const { state, reload, say } = props
  const error = useSignal<unknown>(undefined)
  const act = async (todo: () => Promise<string>) => {
    error.value = undefined
    try {
      say(await todo())
    } catch (err) {
      error.value = err
    }
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
      <Trouble error={error.value} />
      {state.is === 'loading' && <Loading what={words.loading} />}
      {state.is === 'failed' && (
        <Failure what={words.loadFailed} error={state.error} again={reload} />
      )}
      {state.is === 'there' && <List sessions={state.value} onEnd={end} />}
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
        // biome-ignore-start lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
        <tr key={one.id} role="row" class={one.current ? 'on' : undefined}>
          <td role="cell">
            <b title={visible(one.device)}>
              <Outside text={deviceWords(one.device)} />
            </b>
            <span class="small">
              {[...(one.current ? [words.current] : []), words.by[one.proof]].join(', ')}
            </span>
          </td>
          <td role="cell" data-l={source}>
            {one.source === '' ? words.unknown : <Outside text={one.source} />}
          </td>
          <td role="cell" class="fit" data-l={since}>
            <Moment at={one.createdAt} />
          </td>
          <td role="cell" class="fit" data-l={seen}>
            <Moment at={one.seenAt} />
          </td>
          <td role="cell" class="act">
            {!one.current && (
              <button type="button" onClick={() => props.onEnd(one)}>
                {words.end}
                <span class="hide">{` ${visible(deviceWords(one.device))}`}</span>
              </button>
            )}
          </td>
        </tr>
        // biome-ignore-end lint/a11y/noRedundantRoles: CSS takes them away on a narrow screen.
      ))}
    </StackedTable>
  )
}
