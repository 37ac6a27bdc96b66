import { signal } from '@preact/signals'
import { call, type Reply } from '../shared/call.ts'

export type Session = Reply<'GET', '/api/v1/sessions/{id}'>

/** What narrows the list. Each part has a value in the address, so that a filtered list is a link. */
export interface SessionFilter {
  readonly user?: string
  readonly target?: string
  readonly kind?: Session['kind']
  readonly live?: boolean
}

export const kinds = [
  ...['shell', 'exec', 'sftp', 'forward', 'remote-forward', 'agent', 'x11', 'subsystem'],
] as Session['kind'][]

export function readFilter(search: string): SessionFilter {
  const params = new URLSearchParams(search)
  const [user, target, live] = ['user', 'target', 'live'].map((name) => params.get(name) ?? '')
  const kind = kinds.find((one) => one === params.get('kind'))
  return {
    ...(user && { user }),
    ...(target && { target }),
    ...(kind && { kind }),
    ...(live && { live: live === 'true' }),
  }
}

export function writeFilter(filter: SessionFilter): string {
  const params = new URLSearchParams()
  for (const [name, value] of Object.entries(filter)) params.set(name, `${value}`)
  return params.size === 0 ? location.pathname : `?${params}`
}

/** What the page shows. */
export type ListState =
  | { readonly is: 'loading' }
  | { readonly is: 'failed'; readonly error: unknown }
  | {
      readonly is: 'there'
      /** Live ones first: they stay where they are until the reader asks for a new list. */
      readonly sessions: readonly Session[]
      /** The cursor of the older ones; null at the end. */
      readonly next: string | null
      /** When it was true. */
      readonly at: Date
    }

const pageSize = 50
const liveMax = 200

/** The list of sessions: read, grown at its end, and kept true where it stands. */
export class SessionList {
  readonly state = signal<ListState>({ is: 'loading' })
  /** Sessions that are not shown yet. */
  readonly news = signal(0)
  /** Why the list is not kept true any more. */
  readonly stale = signal<unknown>(undefined)
  #filter: SessionFilter = {}
  #loading = new AbortController()

  async load(filter: SessionFilter): Promise<void> {
    this.#filter = filter
    this.#loading.abort()
    this.#loading = new AbortController()
    const { signal } = this.#loading
    this.state.value = { is: 'loading' }
    try {
      const [live, ended] = await Promise.all([this.#live(signal), this.#ended(undefined, signal)])
      this.news.value = 0
      this.stale.value = undefined
      const sessions = [...live, ...ended.items]
      this.state.value = { is: 'there', sessions, next: ended.next, at: new Date() }
    } catch (error) {
      if (!signal.aborted) this.state.value = { is: 'failed', error }
    }
  }

  /** Older ones, at the end. Throws CallFailed. */
  async more(): Promise<void> {
    const before = this.state.value
    if (before.is !== 'there' || before.next === null) return
    const { items, next } = await this.#ended(before.next, this.#loading.signal)
    const now = this.state.value
    if (now.is !== 'there' || now.next !== before.next) return
    const known = new Set(now.sessions.map(({ id }) => id))
    const older = items.filter(({ id }) => !known.has(id))
    this.state.value = { ...now, sessions: [...now.sessions, ...older], next }
  }

  /** Brings the rows that are shown up to date, and counts those that are not shown. */
  async follow(): Promise<void> {
    const { state } = this
    const { signal } = this.#loading
    if (state.value.is !== 'there') return
    try {
      const [live, ended] = await Promise.all([
        this.#live(signal),
        this.#ended(undefined, signal, 10),
      ])
      if (signal.aborted || state.value.is !== 'there') return
      const fresh = new Map([...ended.items, ...live].map((session) => [session.id, session]))
      await this.#findEnded(fresh, signal)
      if (signal.aborted || state.value.is !== 'there') return
      const shown = new Set(state.value.sessions.map(({ id }) => id))
      this.news.value = [...fresh.keys()].filter((id) => !shown.has(id) && !this.#isOld(id)).length
      const sessions = state.value.sessions.map((session) => fresh.get(session.id) ?? session)
      state.value = { ...state.value, sessions, at: new Date() }
      this.stale.value = undefined
    } catch (error) {
      if (!signal.aborted) this.stale.value = error
    }
  }

  /** Those that were live here and are no longer in a list that was read: how did they end? */
  async #findEnded(fresh: Map<string, Session>, signal: AbortSignal): Promise<void> {
    if (this.state.value.is !== 'there') return
    const gone = this.state.value.sessions.filter(({ id, live }) => live && !fresh.has(id))
    const found = await Promise.all(
      gone
        .slice(0, pageSize)
        .map(({ id }) => call('GET', '/api/v1/sessions/{id}', { params: { id }, signal })),
    )
    for (const session of found) fresh.set(session.id, session)
  }

  /** Ids are in the order of their starts. */
  #isOld(id: string): boolean {
    if (this.state.value.is !== 'there') return true
    const { sessions, next } = this.state.value
    const newest = sessions.reduce((most, session) => (session.id > most ? session.id : most), '')
    return (sessions.length > 0 || next !== null) && id < newest
  }

  async #live(signal: AbortSignal): Promise<readonly Session[]> {
    if (this.#filter.live === false) return []
    const query = { ...this.#filter, live: 'true', limit: `${liveMax}` }
    return (await call('GET', '/api/v1/sessions', { query, signal })).items
  }

  async #ended(cursor: string | undefined, signal: AbortSignal, limit = pageSize) {
    if (this.#filter.live === true) return { items: [], next: null }
    const query = { ...this.#filter, live: 'false', limit: `${limit}`, ...(cursor && { cursor }) }
    return await call('GET', '/api/v1/sessions', { query, signal })
  }
}
