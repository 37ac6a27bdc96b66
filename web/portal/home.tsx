import { useSignal } from '@preact/signals'
import { useEffect, useRef, useState } from 'preact/hooks'
import { type Frame, show } from '../shared/frame.ts'
import { Keys } from '../shared/keys.tsx'
import { zoneName } from '../shared/moments.ts'
import { copyText, Failure, Line, Loading, Moment, Outside, Pager } from '../shared/parts.tsx'
import { Cell, Row, StackedTable } from '../shared/table.tsx'
import { visible } from '../shared/visible.ts'
import { ConnectPanel, rememberedLine } from './connect-panel.tsx'
import { texts } from './home-texts.ts'
import { PasskeyOffer } from './passkey-offer.tsx'
import { type Target, TargetList, type TargetsState } from './target-list.ts'

/** What the address says: a search, and the target whose lines are shown. */
interface Place {
  readonly search: string
  readonly target: string | undefined
}

/** A name that a target can have. Another one in a link would be a line that somebody else wrote. */
const targetName = /^[a-z0-9][a-z0-9._-]{0,62}$/

function readPlace(): Place {
  const params = new URLSearchParams(location.search)
  const target = params.get('target') ?? ''
  return {
    search: (params.get('search') ?? '').slice(0, 63),
    target: targetName.test(target) ? target : undefined,
  }
}

function addressOf({ search, target }: Place): string {
  const params = new URLSearchParams({
    ...(search && { search }),
    ...(target !== undefined && { target }),
  })
  return params.size === 0 ? '/' : `/?${params}`
}

function usePlace() {
  const place = useSignal(readPlace())
  useEffect(() => {
    const restore = () => {
      place.value = readPlace()
    }
    window.addEventListener('popstate', restore)
    return () => window.removeEventListener('popstate', restore)
  }, [])
  const go = (to: Partial<Place>) => {
    const next = { ...place.value, ...to }
    history.pushState(null, '', addressOf(next))
    place.value = next
  }
  return { place: place.value, go }
}

function HomePage({ frame }: { readonly frame: Frame }) {
  const [list] = useState(() => new TargetList())
  const { place, go } = usePlace()
  const { search, target } = place
  const load = () => void list.load(search)
  useEffect(load, [search])
  useFocusOfPanel(target)
  const state = list.state.value
  const copy = () => {
    const focused = document.activeElement?.closest('tr')?.dataset.target
    const which = target ?? focused
    if (which !== undefined) copyText(rememberedLine(frame, which))
  }
  const keys = {
    c: { does: texts.keys.copy, act: copy },
    Escape: {
      does: texts.keys.close,
      act: () => target !== undefined && go({ target: undefined }),
    },
  }
  return (
    <>
      <div class={target === undefined ? undefined : 'with-panel'}>
        <div class="list">
          <div class="head">
            <div>
              <h1>{texts.title}</h1>
              <p class="quiet">{lead(state, frame)}</p>
            </div>
          </div>
          <PasskeyOffer />
          <Search value={search} change={(to) => go({ search: to })} />
          <Targets
            {...{ list, search, load, frame, target }}
            onConnect={(name) => go({ target: name })}
            onClear={() => go({ search: '' })}
          />
        </div>
        {target !== undefined && (
          <ConnectPanel frame={frame} target={target} onClose={() => go({ target: undefined })} />
        )}
      </div>
      <Keys own={keys} />
    </>
  )
}

/** The focus goes into the panel, and back to the row's act. */
function useFocusOfPanel(target: string | undefined): void {
  const before = useRef<string | undefined>(undefined)
  useEffect(() => {
    const left = before.current
    before.current = target
    if (target !== undefined) document.getElementById('panel-title')?.focus()
    else if (left !== undefined)
      document.querySelector<HTMLElement>(`tr[data-target="${CSS.escape(left)}"] td.act a`)?.focus()
  }, [target])
}

function lead(state: TargetsState, { tenant }: Frame): string {
  const total = state.is === 'there' ? state.total : undefined
  return total === undefined ? tenant : texts.lead(texts.count(total), tenant, zoneName())
}

function Search({
  value,
  change,
}: {
  readonly value: string
  readonly change: (to: string) => void
}) {
  const field = useRef<HTMLInputElement>(null)
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined)
  const stop = () => {
    clearTimeout(timer.current)
    timer.current = undefined
  }
  const soon = (text: string) => {
    stop()
    timer.current = setTimeout(() => {
      stop()
      change(text.trim().slice(0, 63))
    }, 250)
  }
  // The address has the last word, but not while somebody types.
  useEffect(() => {
    if (field.current !== null && timer.current === undefined) field.current.value = value
  }, [value])
  return (
    <search>
      <form
        class="filters"
        onSubmit={(event) => {
          event.preventDefault()
          stop()
          change(`${new FormData(event.currentTarget).get('search') ?? ''}`.trim())
        }}
      >
        <input
          ref={field}
          class="grow"
          type="search"
          name="search"
          maxLength={63}
          aria-label={texts.search}
          placeholder={texts.searchHint}
          defaultValue={value}
          onInput={(event) => soon(event.currentTarget.value)}
        />
      </form>
    </search>
  )
}

interface TargetsProps {
  readonly list: TargetList
  readonly frame: Frame
  readonly search: string
  readonly target: string | undefined
  readonly load: () => void
  readonly onConnect: (name: string) => void
  readonly onClear: () => void
}

function Targets(props: TargetsProps) {
  const state = props.list.state.value
  if (state.is === 'loading') return <Loading what={texts.loading} />
  if (state.is === 'failed') {
    const what = `${texts.failed} ${texts.goOn}`
    return <Failure what={what} error={state.error} again={props.load} />
  }
  if (state.targets.length === 0) return <Empty {...props} />
  return (
    <>
      <TargetTable {...props} targets={state.targets} />
      <MoreTargets list={props.list} state={state} />
    </>
  )
}

function Empty({ frame, search, onClear }: TargetsProps) {
  if (search !== '') {
    return (
      <section class="card">
        <p>
          <b>{texts.nothing(visible(search))}</b>
        </p>
        <button type="button" onClick={onClear}>
          {texts.clear}
        </button>
      </section>
    )
  }
  return (
    <section class="empty">
      <h2>{texts.emptyTitle}</h2>
      <p>{texts.empty}</p>
      <Line
        label={texts.emptyLabel}
        text={`vaultterm grant add ${frame.tenant} --user ${frame.user} --target TARGET`}
      />
    </section>
  )
}

function TargetTable(props: TargetsProps & { readonly targets: readonly Target[] }) {
  const { target, last, act } = texts.heads
  return (
    <StackedTable caption={texts.caption} heads={[[target], [last, 'fit']]} act={act}>
      {props.targets.map((one) => (
        <TargetRow key={one.name} {...props} {...one} />
      ))}
    </StackedTable>
  )
}

function TargetRow({ name, lastAt, target, search, onConnect }: TargetsProps & Target) {
  const connect = (event: MouseEvent) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return
    event.preventDefault()
    onConnect(name)
  }
  return (
    <Row isChosen={name === target} data={{ 'data-target': name }}>
      <Cell>
        <b>
          <Outside text={name} />
        </b>
      </Cell>
      <Cell kind="fit" head={texts.heads.last}>
        {lastAt === null ? texts.never : <Moment at={lastAt} />}
      </Cell>
      <Cell kind="act">
        <a class="button strong" href={addressOf({ search, target: name })} onClick={connect}>
          {texts.connect}
          <span class="hide">{` ${texts.to} ${visible(name)}`}</span>
        </a>
      </Cell>
    </Row>
  )
}

function MoreTargets(props: {
  readonly list: TargetList
  readonly state: Extract<TargetsState, { is: 'there' }>
}) {
  const { targets, next, total } = props.state
  const shown = targets.length.toLocaleString()
  return (
    <Pager more={() => props.list.more()} failed={texts.failed}>
      {(more) => (
        <>
          {total === undefined ? texts.found(shown) : texts.shown(shown, total.toLocaleString())}
          {next !== null && (
            <button type="button" class="plain end" onClick={more}>
              {texts.more}
            </button>
          )}
        </>
      )}
    </Pager>
  )
}

show((frame) => <HomePage frame={frame} />)
