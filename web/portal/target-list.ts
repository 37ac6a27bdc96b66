import { signal } from '@preact/signals'
import { call, type Reply } from '../shared/call.ts'

export type Target = Reply<'GET', '/api/v1/targets'>['items'][number]

export type TargetsState =
  | { readonly is: 'loading' }
  | { readonly is: 'failed'; readonly error: unknown }
  | {
      readonly is: 'there'
      readonly targets: readonly Target[]
      readonly next: string | null
      /** Of all pages; undefined where a search has not said. */
      readonly total: number | undefined
    }

const pageSize = '50'

/** The targets that the person may open. */
export class TargetList {
  readonly state = signal<TargetsState>({ is: 'loading' })
  #search = ''
  #loading = new AbortController()

  async load(search: string): Promise<void> {
    this.#search = search
    this.#loading.abort()
    this.#loading = new AbortController()
    const { signal } = this.#loading
    this.state.value = { is: 'loading' }
    try {
      const { items, next, total } = await this.#read(undefined, signal)
      this.state.value = { is: 'there', targets: items, next, total }
    } catch (error) {
      if (!signal.aborted) this.state.value = { is: 'failed', error }
    }
  }

  /** More, at the end. Throws CallFailed. */
  async more(): Promise<void> {
    const before = this.state.value
    if (before.is !== 'there' || before.next === null) return
    const { items, next } = await this.#read(before.next, this.#loading.signal)
    if (this.state.value !== before) return
    const known = new Set(before.targets.map(({ name }) => name))
    const more = items.filter(({ name }) => !known.has(name))
    this.state.value = { ...before, targets: [...before.targets, ...more], next }
  }

  #read(cursor: string | undefined, signal: AbortSignal) {
    const search = this.#search === '' ? {} : { search: this.#search }
    const query = { ...search, ...(cursor && { cursor }), limit: pageSize }
    return call('GET', '/api/v1/targets', { query, signal })
  }
}
