import { type ComponentChildren, render } from 'preact'

/** What the server says to a page of the person who opened it. Nothing of it decides anything. */
export interface Frame {
  readonly tenant: string
  readonly user: string
  /** Whose sessions the person may end. */
  readonly ends: 'all' | 'own' | 'none'
  /** Whose sessions the person sees. */
  readonly sees: 'all' | 'own' | 'none'
  /** The person's role in the tenant. */
  readonly role: string
  /** What the person may do with the members of the tenant. */
  readonly members: 'change' | 'read' | 'none'
  /** Where people's ssh connects to. */
  readonly sshHost: string
  readonly sshPort: number
}

/** Puts a page in the place of the text for browsers without JavaScript. */
export function show(content: (frame: Frame, place: HTMLElement) => ComponentChildren): void {
  const place = document.getElementById('app')
  if (place === null) throw new Error('the page has no place')
  const { tenant = '', user = '', ends, sees, role = '', members, sshHost, sshPort } = place.dataset
  const frame: Frame = {
    tenant,
    user,
    ends: reachOf(ends),
    sees: reachOf(sees),
    role,
    members: members === 'change' || members === 'read' ? members : 'none',
    sshHost: sshHost || location.hostname.replace(/^\[(.*)\]$/, '$1'),
    sshPort: Number(sshPort),
  }
  place.replaceChildren()
  render(content(frame, place), place)
}

function reachOf(text: string | undefined): Frame['ends'] {
  return text === 'all' || text === 'own' ? text : 'none'
}
