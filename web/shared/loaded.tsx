import { type Signal, useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { Failure, Loading } from './parts.tsx'

/** What a part of a page asked the server for. */
export type Loaded<T> =
  | { readonly is: 'loading' }
  | { readonly is: 'there'; readonly value: T }
  | { readonly is: 'failed'; readonly error: unknown }

/**
 * Asks when the part is shown, and again when `reload` is called. What is there stays until the new answer
 * has come.
 */
export function useLoaded<T>(ask: () => Promise<T>): {
  readonly state: Signal<Loaded<T>>
  readonly reload: () => Promise<void>
} {
  const state = useSignal<Loaded<T>>({ is: 'loading' })
  const reload = async () => {
    try {
      state.value = { is: 'there', value: await ask() }
    } catch (error) {
      state.value = { is: 'failed', error }
    }
  }
  useEffect(() => void reload(), [])
  return { state, reload }
}

/** What was asked for, once it is there; until then, that it is on its way or why it is not. */
export function Part<T>(props: {
  readonly state: Loaded<T>
  readonly loading: string
  readonly failed: string
  readonly again: () => void
  readonly children: (value: T) => ComponentChildren
}): ComponentChildren {
  const { state, loading, failed, again } = props
  if (state.is === 'loading') return <Loading what={loading} />
  if (state.is === 'failed') return <Failure what={failed} error={state.error} again={again} />
  return props.children(state.value)
}
