import { type Signal, useSignal } from '@preact/signals'
import { useEffect } from 'preact/hooks'

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
