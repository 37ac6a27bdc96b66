import {
  browserSupportsWebAuthn,
  type PublicKeyCredentialCreationOptionsJSON,
  type PublicKeyCredentialRequestOptionsJSON,
  startAuthentication,
  startRegistration,
} from '@simplewebauthn/browser'

/**
 * Passkeys in this browser: W3C Web Authentication Level 3, section 5.1. The library speaks to older
 * browsers too, which lack the JSON forms.
 */

/** Whether this browser knows passkeys. It does not say whether the person has one. */
export const knowsPasskeys = browserSupportsWebAuthn

/**
 * Whether passkeys work at this page's address. Browsers tie them to a name: an address of this machine has
 * one, localhost, and another address has none until an operator gives it one.
 */
export function passkeyPlace(): 'here' | 'localhost' | 'nowhere' {
  const { hostname } = location
  if (/^127\.|^\[::1\]$/.test(hostname)) return 'localhost'
  return /^[\d.]+$|^\[/.test(hostname) ? 'nowhere' : 'here'
}

/** The person closed the browser's own dialog, or let its time go by. */
export class PasskeyGivenUp extends Error {}

/** Has the browser make a passkey. Throws PasskeyGivenUp. */
export async function makePasskey<Answer>(options: object): Promise<Answer> {
  const optionsJSON = options as PublicKeyCredentialCreationOptionsJSON
  return (await orGivenUp(startRegistration({ optionsJSON }))) as Answer
}

/** Has the person prove by a passkey that it is them. Throws PasskeyGivenUp. */
export async function provePasskey<Answer>(options: object): Promise<Answer> {
  const optionsJSON = options as PublicKeyCredentialRequestOptionsJSON
  return (await orGivenUp(startAuthentication({ optionsJSON }))) as Answer
}

/** A browser does not say whether somebody refused, waited too long, or has no passkey for this site. */
async function orGivenUp<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked
  } catch (err) {
    const isGivenUp = err instanceof Error && ['NotAllowedError', 'AbortError'].includes(err.name)
    throw isGivenUp ? new PasskeyGivenUp(err.message) : err
  }
}
