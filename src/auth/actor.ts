/** The author of an act, for the log: a user, an operator at a shell, or the program itself. */
export interface Actor {
  readonly kind: 'user' | 'operator' | 'system'
  readonly id: string
  readonly name: string
  /** The address that they act from. */
  readonly source?: string | undefined
  /** How they proved freshly that it is them, if the act asked for that: `passkey`. */
  readonly stepUp?: string | undefined
}

/** The public keys of an event that name its author; the author's name is private. */
export function actorKeys({ kind, id, stepUp }: Actor): {
  actor: string
  actorKind: string
  stepUp?: string
} {
  return { actor: id, actorKind: kind, ...(stepUp !== undefined && { stepUp }) }
}

/** The private keys of an event that name its author. */
export function actorNames({ name, source }: Actor): { actorName: string; source?: string } {
  return { actorName: name, ...(source !== undefined && { source }) }
}
