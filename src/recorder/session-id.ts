/** The id of one session. A uuid, and so safe in a file's name. */
export type SessionId = string & { readonly brand: 'SessionId' }

/** The session id in a text from outside, or undefined if it is not one. */
export function parseSessionId(text: string): SessionId | undefined {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)
    ? (text as SessionId)
    : undefined
}
