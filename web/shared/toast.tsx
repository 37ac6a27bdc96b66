import { useSignal } from '@preact/signals'
import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'

const shownMs = 8000

/** Says that an act was done. A failure, or a secret, needs another place: this one goes by itself. */
export function useToast(): {
  readonly say: (text: string) => void
  /** Its place on the page. */
  readonly place: ComponentChildren
} {
  const said = useSignal('')
  useEffect(() => {
    if (said.value === '') return
    const timer = setTimeout(() => {
      said.value = ''
    }, shownMs)
    return () => clearTimeout(timer)
  }, [said.value])
  return {
    say: (text) => {
      said.value = text
    },
    place: <div role="status">{said.value !== '' && <p class="toast">{said.value}</p>}</div>,
  }
}
