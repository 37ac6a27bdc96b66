import { isIP } from 'node:net'
import { PasskeyAddress } from './errors.ts'
import type { RelyingParty } from './webauthn.ts'

/**
 * The site of a request, for passkeys. It is the public URL, or, where none is set, localhost: browsers take
 * no address for one. Throws PasskeyAddress for a request to another name, with the one to open.
 */
export function relyingPartyOf(origin: string, publicUrl: string | undefined): RelyingParty {
  const { hostname, port } = new URL(origin)
  const site = new URL(publicUrl ?? `http://localhost${port === '' ? '' : `:${port}`}`)
  if (isIP(site.hostname.replace(/^\[|\]$/g, '')) !== 0) {
    throw new PasskeyAddress('a name, which the setting VAULTTERM_PUBLIC_URL must have')
  }
  if (site.origin !== origin || site.hostname !== hostname) throw new PasskeyAddress(site.origin)
  return { id: site.hostname, origin: site.origin }
}
