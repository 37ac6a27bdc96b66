import { certificateTypeNames } from './key-types.ts'

/** Every plain type that a host may have, best first. No host has its key on a security key. */
export const hostKeyTypeNames: readonly string[] = [
  'ssh-ed25519',
  'ecdsa-sha2-nistp256',
  'ecdsa-sha2-nistp384',
  'ecdsa-sha2-nistp521',
  'ssh-rsa',
]

const hostCertificateTypes = certificateTypeNames.filter((name) => !name.startsWith('sk-'))

/**
 * The types of host key to ask a target for. The target shows the first one that it has: a
 * certificate if one is accepted, then a type of a key on record. The others come last, so that a
 * host whose key has changed its type shows the new key, and is refused for it, instead of failing
 * to agree on a type.
 */
export function hostKeyOffer({
  hostKeys,
  hostCertified,
}: {
  readonly hostKeys: readonly { readonly type: string }[]
  readonly hostCertified: boolean
}): readonly string[] {
  const certified = hostCertified ? hostCertificateTypes : []
  const known = hostKeys.map(({ type }) => type)
  return [...new Set([...certified, ...known, ...hostKeyTypeNames])]
}
