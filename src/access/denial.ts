import type { Identity } from '../auth/index.ts'
import type { ErrorCode } from '../errors.ts'
import type { ChannelKind } from './channel-kind.ts'
import type { ForwardDestination } from './forward-pattern.ts'
import { destinationText, explainProblem, type ForwardProblem } from './forward-problem.ts'
import { namesShownMax } from './names-shown.ts'
import type { PersonRefusal } from './policy.ts'

/** The reason why a channel may not be opened, as far as the person may know it. */
export interface Denial {
  readonly denied: string
  readonly code: ErrorCode
  /** Describes the problem and the remedy. */
  readonly message: string
  /** Targets that this person may open, up to twenty. */
  readonly targets?: readonly string[]
}

/** The real reason, for the log. The person may get less detail. */
export type RefusalReason =
  | { readonly why: PersonRefusal }
  | { readonly why: 'no-target' | 'no-grant' }
  | { readonly why: 'choose'; readonly targets: readonly string[] }
  | { readonly why: 'nothing' }
  | { readonly why: 'no-kind'; readonly target: string }
  | { readonly why: 'chained'; readonly target: string }
  | { readonly why: 'no-destination'; readonly target: string }
  | {
      readonly why: 'no-forward'
      readonly target: string
      readonly problem: ForwardProblem
      /** The destination, or the address at which the target would listen. */
      readonly destination: ForwardDestination | undefined
    }
  | { readonly why: 'no-login'; readonly target: string; readonly logins: readonly string[] }

export interface AccessAttempt {
  readonly target?: string
  readonly login?: string
  /** Used where no login is named, if the person may use it; otherwise the target's first login is used. */
  readonly preferredLogin?: string
  readonly kind: ChannelKind
  /** The address of a forward, where it is known. */
  readonly destination?: ForwardDestination
}

/**
 * The refusal as the person reads it, with targets that they may open instead. A target that does not exist
 * and one that they may not open are refused alike: the refusal must not tell which targets exist.
 */
export function denialOf(
  refusal: RefusalReason,
  { tenantSlug, user }: Identity,
  attempt: AccessAttempt,
  reachable: readonly string[] = [],
): Denial {
  switch (refusal.why) {
    case 'suspended':
      return {
        denied: 'suspended',
        code: 'ERR_TENANT_SUSPENDED',
        message: `${tenantSlug} is suspended; ask the operator of this bastion`,
      }
    case 'no-user':
      return {
        denied: 'no-user',
        code: 'ERR_USER_REMOVED',
        message: `${user.name} was removed from ${tenantSlug}; ask an administrator`,
      }
    case 'no-key':
    case 'key-expired':
      return {
        denied: refusal.why,
        code: 'ERR_KEY_REMOVED',
        message: `the key you logged in with is no longer registered for ${user.name}; connect again with another key, or ask an administrator`,
      }
    case 'no-target':
    case 'no-grant':
      return {
        denied: 'no-grant',
        code: 'ERR_NO_GRANT',
        message: `${tenantSlug} has no target ${attempt.target ?? ''} that you may open; ${instead(reachable)}`,
        targets: reachable.slice(0, namesShownMax),
      }
    case 'nothing':
      return {
        denied: 'no-grant',
        code: 'ERR_NO_GRANT',
        message: `you may not open any target of ${tenantSlug} yet; ask an administrator for a grant (vaultterm grant add ${tenantSlug} --user ${user.name} …)`,
        targets: [],
      }
    case 'choose':
      return {
        denied: 'choose',
        code: 'ERR_TARGET_CHOICE',
        message: `choose a target: connect as ${tenantSlug}+<target>, with one of ${listed(refusal.targets)}`,
        targets: refusal.targets.slice(0, namesShownMax),
      }
    case 'no-kind':
      return {
        denied: 'no-kind',
        code: 'ERR_KIND_NOT_GRANTED',
        message: `you may open ${refusal.target}, but not for ${attempt.kind}; ask an administrator for a grant that allows ${attempt.kind}`,
        ...(reachable.length > 0 && { targets: reachable.slice(0, namesShownMax) }),
      }
    case 'no-forward':
      return {
        denied: 'no-forward',
        code: 'ERR_FORWARD_REFUSED',
        message: `${forwardText(attempt.kind, refusal)} is refused: ${explainProblem(refusal.problem)}`,
      }
    case 'no-destination':
      return {
        denied: 'no-destination',
        code: 'ERR_FORWARD_NOT_GRANTED',
        message: `you may not reach ${destinationText(attempt.destination)} from ${refusal.target}; ${grantFor(attempt)}`,
      }
    case 'chained':
      return {
        denied: 'chained',
        code: 'ERR_JUMP_CHAINED',
        message: `${refusal.target} cannot be reached through another target, where the session would not be recorded; jump from this bastion only (ssh -J ${tenantSlug}@… ${refusal.target})`,
      }
    case 'no-login':
      return {
        denied: 'no-login',
        code: 'ERR_LOGIN_NOT_GRANTED',
        message: `you may not log in to ${refusal.target}${attempt.login === undefined ? '' : ` as ${attempt.login}`}; ${loginsInstead(refusal.logins)}`,
      }
  }
}

function forwardText(
  kind: ChannelKind,
  { target, destination }: Extract<RefusalReason, { readonly why: 'no-forward' }>,
): string {
  switch (kind) {
    case 'forward':
      return `a forward from ${target} to ${destinationText(destination)}`
    case 'remote-forward':
      return `to listen on ${target} at ${destinationText(destination)}`
    default:
      return `to lend ${kind === 'agent' ? 'your agent' : 'your display'} to ${target}`
  }
}

function grantFor({ kind, destination }: AccessAttempt): string {
  return destination !== undefined && 'path' in destination
    ? `a grant that lists hosts and ports does not allow sockets (vaultterm grant add --allow ${kind}, without --forward)`
    : `ask an administrator for a grant that names it (vaultterm grant add --allow ${kind} --forward HOST:PORT)`
}

function instead(targets: readonly string[]): string {
  return targets.length === 0
    ? 'ask an administrator for a grant'
    : `choose one of ${listed(targets)}, or ask an administrator for a grant`
}

function loginsInstead(logins: readonly string[]): string {
  return logins.length === 0
    ? 'ask an administrator for a grant with one of its logins'
    : `choose one of ${logins.join(', ')}`
}

/** The list was read only up to its limit, so the total is unknown. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, namesShownMax).join(', ')
  return names.length > namesShownMax ? `${shown} and others` : shown
}
