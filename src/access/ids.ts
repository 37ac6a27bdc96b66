/** Ids of access's records: opaque texts, each of its own type. */
export type TargetId = string & { readonly brand: 'TargetId' }
export type GrantId = string & { readonly brand: 'GrantId' }
