import { useSignal } from '@preact/signals'

/** The error of the last attempt, until the next one. */
export function useAttempt(): {
  readonly error: unknown
  readonly attempt: (todo: () => Promise<unknown>) => Promise<void>
} {
  const error = useSignal<unknown>(undefined)
  return {
    error: error.value,
    async attempt(todo) {
      error.value = undefined
      try {
        await todo()
      } catch (err) {
        error.value = err
      }
    },
  }
}
