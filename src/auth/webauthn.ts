/**
 * Passkeys on the wire: what a browser is asked, and the proof of its answer. Only this file knows the
 * library, which takes half a second to load and is loaded when the first passkey is used.
 *
 * W3C, Web Authentication Level 3: https://www.w3.org/TR/webauthn-3/
 */

import { createHash, randomBytes } from 'node:crypto'
import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/server'
import { z } from 'zod'

/** The site that passkeys are bound to, and the only page that may ask for them. */
export interface RelyingParty {
  /** A domain name. */
  readonly id: string
  readonly origin: string
}

export interface CredentialHint {
  readonly id: string
  readonly type: 'public-key'
  readonly transports: string[]
}

/** PublicKeyCredentialCreationOptionsJSON. */
export interface CreationOptions {
  readonly challenge: string
  readonly rp: { readonly id: string; readonly name: string }
  readonly user: { readonly id: string; readonly name: string; readonly displayName: string }
  readonly pubKeyCredParams: { readonly type: 'public-key'; readonly alg: number }[]
  readonly timeout: number
  readonly attestation: 'none'
  readonly excludeCredentials: CredentialHint[]
  readonly authenticatorSelection: {
    readonly residentKey: 'required'
    readonly requireResidentKey: true
    readonly userVerification: 'required'
  }
}

/** PublicKeyCredentialRequestOptionsJSON. */
export interface RequestOptions {
  readonly challenge: string
  readonly rpId: string
  readonly timeout: number
  readonly userVerification: 'required'
  /** Empty: any passkey of the site. */
  readonly allowCredentials: CredentialHint[]
}

/** RegistrationResponseJSON, as far as we read it. */
export interface Attestation {
  readonly id: string
  readonly clientDataJSON: string
  readonly attestationObject: string
  readonly transports: readonly string[]
}

/** AuthenticationResponseJSON, as far as we read it. */
export interface Assertion {
  readonly id: string
  readonly clientDataJSON: string
  readonly authenticatorData: string
  readonly signature: string
  /** From the authenticator: what creationOptions() gave it as the user's id. */
  readonly userHandle: string | undefined
}

export interface Credential {
  readonly id: Buffer
  /** COSE. */
  readonly publicKey: Buffer
  readonly counter: number
}

/** How long a browser has for its answer. */
export const answerSeconds = 120
/** EdDSA, ECDSA on P-256, RSA with SHA-256: COSE's numbers. */
const algorithms = [-8, -7, -257]

export function creationOptions(
  rp: RelyingParty,
  user: { readonly handle: Buffer; readonly name: string; readonly shownName: string },
  challenge: string,
  known: readonly CredentialHint[],
): CreationOptions {
  return {
    challenge,
    rp: { id: rp.id, name: 'VaultTerm' },
    user: {
      id: user.handle.toString('base64url'),
      name: user.name,
      displayName: user.shownName,
    },
    pubKeyCredParams: algorithms.map((alg) => ({ type: 'public-key', alg })),
    timeout: answerSeconds * 1000,
    attestation: 'none',
    excludeCredentials: [...known],
    authenticatorSelection: {
      residentKey: 'required',
      requireResidentKey: true,
      userVerification: 'required',
    },
  }
}

export function requestOptions(
  rp: RelyingParty,
  challenge: string,
  allowed: readonly CredentialHint[],
): RequestOptions {
  return {
    challenge,
    rpId: rp.id,
    timeout: answerSeconds * 1000,
    userVerification: 'required',
    allowCredentials: [...allowed],
  }
}

export function newChallenge(): string {
  return randomBytes(32).toString('base64url')
}

export function challengeHash(challenge: string): Buffer {
  return createHash('sha256').update(challenge).digest()
}

const clientData = z.object({ challenge: z.string().max(100), crossOrigin: z.boolean().optional() })

/** The challenge that a browser says it answered; undefined if it says none, or is framed by another site. */
export function challengeIn({
  clientDataJSON,
}: {
  readonly clientDataJSON: string
}): string | undefined {
  try {
    const told = JSON.parse(Buffer.from(clientDataJSON, 'base64url').toString('utf8'))
    const { success, data } = clientData.safeParse(told)
    return success && data.crossOrigin !== true ? data.challenge : undefined
  } catch {
    return undefined
  }
}

/** The new credential of a browser's answer to this challenge. Throws, or answers undefined, for any other. */
export async function verifyAttestation(
  rp: RelyingParty,
  challenge: string,
  { id, clientDataJSON, attestationObject, transports }: Attestation,
): Promise<(Credential & { readonly synced: boolean }) | undefined> {
  const { verifyRegistrationResponse } = await import('@simplewebauthn/server')
  const response: RegistrationResponseJSON = {
    id,
    rawId: id,
    type: 'public-key',
    clientExtensionResults: {},
    response: { clientDataJSON, attestationObject, transports: [...transports] as never },
  }
  const { verified, registrationInfo } = await verifyRegistrationResponse({
    response,
    expectedChallenge: challenge,
    expectedOrigin: rp.origin,
    expectedRPID: rp.id,
    requireUserVerification: true,
    supportedAlgorithmIDs: algorithms,
  })
  if (!verified || !registrationInfo.userVerified) return undefined
  const { credential, credentialDeviceType } = registrationInfo
  return {
    id: Buffer.from(credential.id, 'base64url'),
    publicKey: Buffer.from(credential.publicKey),
    counter: credential.counter,
    synced: credentialDeviceType === 'multiDevice',
  }
}

/** The credential's new counter, after a proof of it. Throws, or answers undefined, for any other. */
export async function verifyAssertion(
  rp: RelyingParty,
  challenge: string,
  { id, clientDataJSON, authenticatorData, signature }: Assertion,
  credential: Credential,
): Promise<number | undefined> {
  const { verifyAuthenticationResponse } = await import('@simplewebauthn/server')
  const response: AuthenticationResponseJSON = {
    id,
    rawId: id,
    type: 'public-key',
    clientExtensionResults: {},
    response: { clientDataJSON, authenticatorData, signature },
  }
  const { verified, authenticationInfo } = await verifyAuthenticationResponse({
    response,
    expectedChallenge: challenge,
    expectedOrigin: rp.origin,
    expectedRPID: rp.id,
    requireUserVerification: true,
    credential: {
      id: credential.id.toString('base64url'),
      publicKey: new Uint8Array(credential.publicKey),
      counter: credential.counter,
    },
  })
  return verified && authenticationInfo.userVerified ? authenticationInfo.newCounter : undefined
}
