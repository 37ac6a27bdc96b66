import ssh2 from 'ssh2'
import { LibraryUnpatched } from './errors.ts'

/** How many patches the series in patches/ has. */
const patchSeries = 15

// Keepalives are the connection's own, for both roles.
ssh2.Server.KEEPALIVE_CLIENT_INTERVAL = 0

/**
 * Whether this process encrypts with ssh2's native ciphers, and not with its slower ones in JavaScript:
 * the binding is built, it loads, and VAULTTERM_NATIVE_CIPHERS does not turn it off.
 */
export function usesNativeCiphers(): boolean {
  return ssh2.nativeCiphers
}

/** Throws when the ssh2 that is installed is not the one that we mean. */
export function assertPatched(): void {
  if (ssh2.patchSeries !== patchSeries) throw new LibraryUnpatched()
}
