import type { FastifyRequest } from 'fastify'

/** Where a request came from. */
export interface Visitor {
  /** The address. */
  readonly source: string
  /** The browser or program, as it calls itself: at most 256 characters, none of them a control. */
  readonly device: string
}

const deviceCharactersMax = 256

export function visitorOf(request: FastifyRequest): Visitor {
  return { source: request.ip, device: deviceOf(request) }
}

/** A stranger writes it: it is cut, and it is text only. */
export function deviceOf({ headers }: FastifyRequest): string {
  return (headers['user-agent'] ?? '')
    .slice(0, deviceCharactersMax * 4)
    .replaceAll(/[^\x20-\x7e]/g, '?')
    .slice(0, deviceCharactersMax)
}
