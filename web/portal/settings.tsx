import type { ComponentChildren } from 'preact'
import type { Frame } from '../shared/frame.ts'
import { texts } from './settings-texts.ts'

/** A page of the settings, beside the list of those that the person may open. */
export function Settings(props: {
  readonly frame: Frame
  readonly current: 'security' | 'members'
  readonly children: ComponentChildren
}) {
  const { frame, current, children } = props
  // One page alone needs no list.
  if (frame.members === 'none') return <div class="narrow">{children}</div>
  const link = (to: typeof current, label: string) => (
    <a href={`/settings/${to}`} aria-current={to === current ? 'page' : undefined}>
      {label}
    </a>
  )
  return (
    <div class="side">
      <nav class="subnav" aria-label={texts.title}>
        <h2>{texts.you}</h2>
        {link('security', texts.security)}
        <h2>{frame.tenant}</h2>
        {link('members', texts.members)}
      </nav>
      <div>
        {/* A phone has no room beside the page. */}
        <nav class="tabs narrow-only" aria-label={texts.title}>
          {link('security', texts.security)}
          {link('members', texts.members)}
        </nav>
        {children}
      </div>
    </div>
  )
}
