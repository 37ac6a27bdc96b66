import { base64Length, readBase64, writeBase64 } from './base64.ts'
import { secretBuffer } from './cobblestone.ts'

const first = Buffer.from('-----BEGIN PRIVATE KEY-----\n')
const last = Buffer.from('-----END PRIVATE KEY-----\n')
const newline = 0x0a
const padding = 0x3d
const lineBytes = 48

/** PKCS#8 DER as PEM, from buffer to buffer: a string cannot be wiped. The caller wipes the PEM. */
export function encodePrivateKeyPem(der: Buffer): Buffer {
  const lines = Math.ceil(der.length / lineBytes)
  const length = first.length + base64Length(der.length) + lines + last.length
  const pem = secretBuffer(length)
  let at = first.copy(pem)
  for (let from = 0; from < der.length; from += lineBytes) {
    at = writeBase64(der.subarray(from, from + lineBytes), pem, at)
    pem[at++] = newline
  }
  last.copy(pem, at)
  return pem
}

/**
 * The DER in such a PEM; undefined if the text is not one. The caller wipes it. OpenSSL gets only
 * DER: it frees the decoded contents of a PEM without wiping them.
 */
export function decodePrivateKeyPem(pem: Buffer): Buffer | undefined {
  const end = pem.length - last.length
  if (end < first.length || !pem.subarray(0, first.length).equals(first)) return undefined
  if (!pem.subarray(end).equals(last)) return undefined
  const text = secretBuffer(pem.length)
  let length = 0
  let padded = 0
  for (const character of pem.subarray(first.length, end)) {
    if (character === padding) padded++
    if (character !== newline) text[length++] = character
  }
  const der = secretBuffer(Math.max(0, Math.ceil(length / 4) * 3 - padded))
  const isRead = length % 4 === 0 && padded <= 2 && readBase64(text.subarray(0, length), der)
  text.fill(0)
  return isRead ? der : undefined
}
