import type { Loaded } from '../shared/loaded.tsx'
import type { StepUp } from '../shared/step-up.tsx'

/** One part of the page of a person's ways in: a list of them, and how it is changed. */
export interface SecurityPart<Item> {
  readonly state: Loaded<readonly Item[]>
  readonly reload: () => void
  readonly stepUp: StepUp
  /** Says that something was done. */
  readonly say: (text: string) => void
}
