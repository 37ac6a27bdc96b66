import { useSignal } from '@preact/signals'
import { useEffect, useRef } from 'preact/hooks'
import { texts } from './texts.ts'

/** Single keys of a page, each with what it does. No key does a dangerous act. */
export interface PageKeys {
  readonly [key: string]: { readonly does: string; readonly act: (event: KeyboardEvent) => void }
}

const stored = 'vaultterm-single-keys'

/** Whether single keys act: WCAG 2.1.4 asks for a way to switch them off. */
function singleKeysAct(): boolean {
  return localStorage.getItem(stored) !== 'off'
}

/** Whether the person is writing. */
function isField(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest('input, textarea, select, dialog') !== null
}

/** A button or link that has the focus does its own act. */
function isOwnAct({ key, target }: KeyboardEvent): boolean {
  const presses = key === ' ' || key === 'Enter'
  return presses && target instanceof Element && target.closest('button, a, summary') !== null
}

/** The keys of every page, with those of this one, and the dialog that lists them. */
export function Keys({ own = {} }: { readonly own?: PageKeys }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const isOn = useSignal(singleKeysAct())
  const latest = useRef(own)
  latest.current = own
  useEffect(() => {
    let afterG = false
    const listen = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
      if (isField(event.target) || isOwnAct(event) || !singleKeysAct()) return
      const act = afterG ? goTo[event.key.toLowerCase()] : actOf(event.key)
      afterG = event.key.toLowerCase() === 'g' && !afterG
      if (act === undefined) return
      event.preventDefault()
      event.stopPropagation()
      act(event)
    }
    const actOf = (key: string) => {
      if (key === '?') return () => dialog.current?.showModal()
      return latest.current[key]?.act ?? everywhere[key]
    }
    // Before the player, which has keys of its own.
    window.addEventListener('keydown', listen, true)
    return () => window.removeEventListener('keydown', listen, true)
  }, [])
  const change = (on: boolean) => {
    isOn.value = on
    localStorage.setItem(stored, on ? 'on' : 'off')
  }
  return (
    <dialog ref={dialog} aria-labelledby="keys-title">
      <h2 id="keys-title">{texts.keysTitle}</h2>
      <dl class="keylist">
        {[...Object.entries(own).map(([key, { does }]) => [nameOf(key), does]), ...listed].map(
          ([key, does]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{does}</dd>
            </div>
          ),
        )}
      </dl>
      <label class="choice">
        <input
          type="checkbox"
          checked={isOn.value}
          onChange={(event) => change(event.currentTarget.checked)}
        />
        {texts.keysSwitch}
      </label>
      <footer>
        <button type="button" onClick={() => dialog.current?.close()}>
          {texts.close}
        </button>
      </footer>
    </dialog>
  )
}

const goTo: { readonly [key: string]: () => void } = {
  t: () => location.assign('/'),
  s: () => location.assign('/sessions'),
}

const everywhere: { readonly [key: string]: () => void } = {
  '/': () => document.querySelector<HTMLInputElement>('#app input[type="search"]')?.focus(),
  j: () => moveRow(1),
  k: () => moveRow(-1),
}

const listed = [
  ['/', texts.keys.search],
  ['G T', texts.keys.targets],
  ['G S', texts.keys.sessions],
  ['J K', texts.keys.rows],
  ['Enter', texts.keys.enter],
  ['?', texts.keys.help],
]

function nameOf(key: string): string {
  const names: { readonly [key: string]: string } = {
    ' ': 'Space',
    ArrowLeft: '←',
    ArrowRight: '→',
  }
  return names[key] ?? key.toUpperCase()
}

/** To the act of the next row: Enter is the act's own then. */
function moveRow(by: number): void {
  const acts = [...document.querySelectorAll<HTMLElement>('#app tbody tr')].flatMap(
    (row) => row.querySelector<HTMLElement>('td.act a, td.act button') ?? [],
  )
  const now = acts.findIndex((act) => act.closest('tr')?.contains(document.activeElement))
  const next = now < 0 ? (by > 0 ? 0 : acts.length - 1) : now + by
  acts[Math.min(Math.max(next, 0), acts.length - 1)]?.focus()
}
