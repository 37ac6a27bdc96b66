import type { ChoicePage, ChoiceQuery } from '../../wire/calls.ts'

export interface ScreenSize {
  readonly cols: number
  readonly rows: number
}

/** The result of some input. Bytes that were typed after a choice belong to the session. */
export type Verdict =
  | { readonly open: string; readonly rest: Buffer }
  | { readonly leave: true }
  | { readonly bell: boolean }
  /** The answer depends on a page that is not there yet: give these bytes again once it is. */
  | { readonly wait: Buffer }

/**
 * A way to choose a target on a terminal. It does not know channels: it takes bytes and pages, and
 * gives verdicts and text. All its text is printable.
 */
export interface Picker {
  /** Written before the first text, and after the last. */
  readonly enter: string
  readonly leave: string
  /** Whether a single ESC has come: it is a key of its own if no byte follows within moments. */
  readonly isEscapePending: boolean
  input(bytes: Buffer): Verdict
  escape(): Verdict
  resize(size: ScreenSize): void
  /** The page that it needs now, if any. */
  wants(): ChoiceQuery | undefined
  /** Gives it a page. A page that it no longer needs is ignored. */
  take(query: ChoiceQuery, page: ChoicePage): void
  /** The text to write now. */
  render(): string
}
