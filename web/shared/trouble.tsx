import { Failure } from './parts.tsx'
import { PasskeyGivenUp } from './passkey.ts'
import { texts } from './texts.ts'

/** The person closed the dialog that asks for a fresh proof: nothing was done. */
export class StepUpCancelled extends Error {}

/** Why an act was not done. That the person gave it up is no failure. */
export function Trouble(props: {
  readonly error: unknown
  readonly failed?: string
  readonly givenUp?: string
}) {
  const { error, failed = texts.trouble.failed, givenUp = texts.stepUp.givenUp } = props
  if (error === undefined) return null
  const isCancelled = error instanceof StepUpCancelled
  if (!isCancelled && !(error instanceof PasskeyGivenUp)) {
    return <Failure what={failed} error={error} />
  }
  return (
    <p class="notice warn" role="alert">
      {isCancelled ? texts.trouble.cancelled : givenUp}
    </p>
  )
}
