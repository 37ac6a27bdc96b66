/** The author of an act, for the log: a user, an operator at a shell, or the program itself. */
export interface Actor {
  readonly kind: 'user' | 'operator' | 'system'
  readonly id: string
  readonly name: string
}

/** The public keys of an event that name its author; the author's name is private. */
export function actorKeys({ kind, id }: Actor): { actor: string; actorKind: string } {
  return { actor: id, actorKind: kind }
}
