import { errorCode } from '../errors.ts'

/** Why a connection to a host failed, in words for people that fit into brackets. */
export function dialProblem(err: unknown): string {
  switch (errorCode(err)) {
    case 'ECONNREFUSED':
      return 'connection refused'
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name does not resolve'
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'no route to it'
    case 'ETIMEDOUT':
      return 'no answer'
    default:
      return 'connection failed'
  }
}
