/** Who did an act, for the log: a person, an operator at a shell, or the program itself. */
export interface Actor {
  readonly kind: 'user' | 'operator' | 'system'
  readonly id: string
  readonly name: string
}

/** The public keys of an event that say who did it; the name is private. */
export function actorKeys({ kind, id }: Actor): { actor: string; actorKind: string } {
  return { actor: id, actorKind: kind }
}
