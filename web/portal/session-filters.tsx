import { useRef } from 'preact/hooks'
import type { Frame } from '../shared/frame.ts'
import { describeKind } from '../shared/session-words.ts'
import { kinds, type SessionFilter, writeFilter } from './session-list.ts'
import { texts } from './sessions-texts.ts'

/** What narrows the list: each is a link, or a field that makes one. */
export function SessionFilters(props: {
  readonly frame: Frame
  readonly filter: SessionFilter
  readonly change: (to: SessionFilter) => void
}) {
  const { frame, filter, change } = props
  const form = useRef<HTMLFormElement>(null)
  const submit = (event: Event) => {
    event.preventDefault()
    if (form.current === null) return
    const fields = new FormData(form.current)
    const [user, target] = ['user', 'target'].map((name) => `${fields.get(name) ?? ''}`.trim())
    const kind = kinds.find((one) => one === fields.get('kind'))
    const { live } = filter
    change({
      ...(user && { user }),
      ...(target && { target }),
      ...(kind && { kind }),
      ...(live !== undefined && { live }),
    })
  }
  const { live: _, ...rest } = filter
  const { user: __, ...nobody } = filter
  const isMine = filter.user === frame.user
  const chip = (label: string, to: SessionFilter, isOn: boolean) => (
    <a
      class={isOn ? 'chip on' : 'chip'}
      aria-current={isOn ? 'true' : undefined}
      href={writeFilter(to)}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return
        event.preventDefault()
        change(to)
      }}
    >
      {label}
    </a>
  )
  return (
    <search>
      <form class="filters" ref={form} onSubmit={submit} key={writeFilter(filter)}>
        {frame.sees === 'all' && field('user', texts.person, texts.personHint, filter.user)}
        {field('target', texts.target, texts.targetHint, filter.target)}
        <label class="hide" for="kind">
          {texts.kind}
        </label>
        <select id="kind" name="kind" value={filter.kind ?? ''} onChange={submit}>
          <option value="">{texts.allKinds}</option>
          {kinds.map((kind) => (
            <option key={kind} value={kind}>
              {describeKind(kind)}
            </option>
          ))}
        </select>
        <button type="submit">{texts.show}</button>
        {chip(texts.chips.all, rest, filter.live === undefined)}
        {chip(texts.chips.live, { ...rest, live: true }, filter.live === true)}
        {chip(texts.chips.ended, { ...rest, live: false }, filter.live === false)}
        {frame.sees === 'all' &&
          chip(texts.chips.mine, isMine ? nobody : { ...filter, user: frame.user }, isMine)}
      </form>
    </search>
  )
}

const field = (name: string, label: string, hint: string, value = '') => (
  <input
    class="grow"
    type="search"
    name={name}
    maxLength={64}
    aria-label={label}
    placeholder={hint}
    defaultValue={value}
  />
)
