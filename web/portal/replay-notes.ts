import type { Watch } from './paced-driver.ts'

/** What the page says of its replay, above it: nothing, for most recordings. */
export class ReplayNotes implements Watch {
  failed = false
  readonly #element: HTMLElement
  readonly #url: string
  #time = 0
  #slow: HTMLElement | undefined

  constructor(element: HTMLElement, url: string) {
    this.#element = element
    this.#url = url
  }

  /** The replay has drawn everything before this time, in milliseconds. */
  at(time: number): void {
    this.#time = time
  }

  /** Says that the replay is behind, until it no longer is. */
  late(is: boolean): void {
    if (is) {
      this.#slow ??= this.#say('')
      const text = `The replay is slow here, and still draws: it is at ${clock(this.#time)}. `
      this.#slow.firstChild?.replaceWith(text)
    } else {
      this.#slow?.remove()
      this.#slow = undefined
      this.#element.hidden = this.#element.childElementCount === 0
    }
  }

  /** Says that the recording has more than is shown. */
  fail(): void {
    if (this.failed) return
    this.failed = true
    this.late(false)
    this.#say(
      `The replay stopped at ${clock(this.#time)}: the player failed there. The recording has more. `,
    ).setAttribute('role', 'alert')
  }

  remark(text: string): void {
    this.#say(`${text} `)
  }

  #say(text: string): HTMLElement {
    const line = document.createElement('p')
    const link = document.createElement('a')
    link.href = this.#url
    link.download = ''
    link.textContent = 'Download the recording'
    line.append(text, link)
    this.#element.append(line)
    this.#element.hidden = false
    return line
  }
}

/** As the player's controls show it. */
export function clock(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000)
  const minutes = Math.floor(seconds / 60)
  return `${String(minutes).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`
}
