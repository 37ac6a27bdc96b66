import type { ForwardDestination } from './forward-pattern.ts'

/** The reason why a forward is refused to everybody, whatever their grants allow. */
export type ForwardProblem =
  /** A port of the bastion or of its datastores. */
  | 'own-port'
  /** An address or a name at which clouds keep the secrets of their machines. */
  | 'cloud-address'
  /** A port of ours at a name without a known address: it may be this host's. */
  | 'unknown-name'
  | 'relative-path'
  /** A path of ours, or one that cannot be followed: the answer must not tell which of our files exist. */
  | 'closed-path'
  /** The user's certificate does not permit this kind of forward. */
  | 'certificate'

const destinationShownMax = 128

/** The destination in the spelling that is judged. It has no control characters. */
export function destinationText(destination: ForwardDestination | undefined): string {
  if (destination === undefined) return 'that'
  if ('path' in destination) return `the socket ${bounded(destination.path)}`
  const { host, port } = destination
  return `${host.includes(':') ? `[${bounded(host)}]` : bounded(host)}:${port}`
}

/** The reason and the remedy, to follow a colon. */
export function explainProblem(problem: ForwardProblem): string {
  switch (problem) {
    case 'own-port':
      return 'the port is one of the bastion itself or of its datastores; choose another port'
    case 'cloud-address':
      return 'clouds keep secrets at this address, and no forward may reach it'
    case 'unknown-name':
      return 'the bastion finds no address for this name, so it cannot check it; write an address'
    case 'relative-path':
      return 'the path is relative; write the whole path, from / on'
    case 'closed-path':
      return 'the path leads to the files of the bastion itself, or the bastion cannot follow it; choose another path that exists'
    case 'certificate':
      return 'your certificate does not permit it; log in with a key, or with a certificate that permits it'
  }
}

function bounded(text: string): string {
  return text.length > destinationShownMax ? `${text.slice(0, destinationShownMax)}…` : text
}
