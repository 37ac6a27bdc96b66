/** Ids of what access keeps: opaque texts, each of its own kind. */
export type TargetId = string & { readonly brand: 'TargetId' }
export type GrantId = string & { readonly brand: 'GrantId' }
