import { randomUUID } from 'node:crypto'

/** Names one process that serves, from its start to its end. */
export type InstanceId = string & { readonly brand: 'InstanceId' }

/** A new one: it is kept in memory only, so that no copy of a home or a disk holds it. */
export function newInstanceId(): InstanceId {
  return randomUUID() as InstanceId
}

export function parseInstanceId(text: string): InstanceId | undefined {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)
    ? (text as InstanceId)
    : undefined
}
