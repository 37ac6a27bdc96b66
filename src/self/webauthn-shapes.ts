import { z } from 'zod'
import type { Assertion, Attestation } from '../auth/index.ts'

/** The JSON forms of W3C Web Authentication Level 3, section 5.1: what a browser is asked, and its answers. */

const base64url = (max: number) =>
  z
    .string()
    .regex(/^[\w-]*$/)
    .max(max)
const idMax = 1366
const hintShape = z.object({
  id: z.string(),
  type: z.literal('public-key'),
  transports: z.array(z.string()),
})

export const creationShape = z
  .object({
    challenge: z.string(),
    rp: z.object({ id: z.string(), name: z.string() }),
    user: z.object({ id: z.string(), name: z.string(), displayName: z.string() }),
    pubKeyCredParams: z.array(z.object({ type: z.literal('public-key'), alg: z.int() })),
    timeout: z.int(),
    attestation: z.literal('none'),
    excludeCredentials: z.array(hintShape),
    authenticatorSelection: z.object({
      residentKey: z.literal('required'),
      requireResidentKey: z.literal(true),
      userVerification: z.literal('required'),
    }),
  })
  .meta({ id: 'PasskeyCreation' })

export const requestShape = z
  .object({
    challenge: z.string(),
    rpId: z.string(),
    timeout: z.int(),
    userVerification: z.literal('required'),
    allowCredentials: z.array(hintShape),
  })
  .meta({ id: 'PasskeyRequest' })

/** The fields that PublicKeyCredential.toJSON() has, whatever it is for. Those without a use here are not read. */
const answerFields = {
  id: base64url(idMax).min(1),
  rawId: base64url(idMax),
  type: z.literal('public-key'),
  authenticatorAttachment: z.string().max(32).nullish(),
  clientExtensionResults: z.record(z.string(), z.unknown()).optional(),
}

export const attestationBody = z.strictObject({
  ...answerFields,
  response: z.strictObject({
    clientDataJSON: base64url(4096),
    attestationObject: base64url(32_768),
    authenticatorData: base64url(16_384).optional(),
    publicKey: base64url(4096).nullish(),
    publicKeyAlgorithm: z.int().optional(),
    transports: z
      .array(z.string().regex(/^[a-z-]{1,32}$/))
      .max(8)
      .default([]),
  }),
})

export const assertionBody = z.strictObject({
  ...answerFields,
  response: z.strictObject({
    clientDataJSON: base64url(4096),
    authenticatorData: base64url(4096),
    signature: base64url(4096),
    userHandle: base64url(128).nullish(),
  }),
})

export function attestationOf({ id, response }: z.output<typeof attestationBody>): Attestation {
  const { clientDataJSON, attestationObject, transports } = response
  return { id, clientDataJSON, attestationObject, transports }
}

export function assertionOf({ id, response }: z.output<typeof assertionBody>): Assertion {
  const { clientDataJSON, authenticatorData, signature, userHandle } = response
  return { id, clientDataJSON, authenticatorData, signature, userHandle: userHandle ?? undefined }
}
