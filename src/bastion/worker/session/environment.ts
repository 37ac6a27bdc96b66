/**
 * Which environment variables a client may set on a target.
 *
 * The names that distributions accept by default. Other variables (LD_PRELOAD, BASH_ENV, PATH…)
 * could change which programs run there.
 */
const allowed = /^(?:LANG|LC_[A-Z]{1,24}|COLORTERM|NO_COLOR|TZ)$/
const plain = /^[\x20-\x7e]{0,256}$/

/** At most this many of them a session; OpenSSH sends about a dozen. */
export const environmentMax = 32

export function mayCarry(name: string, value: string): boolean {
  return allowed.test(name) && plain.test(value)
}
