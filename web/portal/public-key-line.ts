import { texts } from './security-texts.ts'

const { wrong } = texts.keys
const types =
  /^(?:ssh-(?:ed25519|rsa)|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)\s/

/**
 * What is wrong with a text that should be one line of a .pub file; undefined if it may be one. It is asked
 * before anything is sent: a private key that somebody pastes by mistake does not leave the browser. The
 * server has the last word.
 */
export function problemOfLine(text: string): string | undefined {
  const line = text.trim()
  if (line === '') return wrong.empty
  if (/-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----/.test(line)) return wrong.private
  if (/^PuTTY-User-Key-File-\d/m.test(line)) return wrong.putty
  // The fields of private keys, should somebody paste only the middle: OpenSSH's begins with this magic.
  if (line.startsWith('b3BlbnNzaC1rZXktdjE')) return wrong.private
  if (/[\r\n]/.test(line)) return wrong.several
  return types.test(line) ? undefined : wrong.none
}

/** Whether each line is a public key. Anything else may be part of a private one, and does not stay on the page. */
export function isPublic(text: string): boolean {
  return text.split(/[\r\n]+/).every((line) => line.trim() === '' || types.test(line.trim()))
}
