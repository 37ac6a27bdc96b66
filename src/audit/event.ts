import { createHmac, createSecretKey } from 'node:crypto'
import { type Canonical, decodeCanonical, encodeCanonical } from './canonical.ts'
import { EventRefused } from './errors.ts'
import { eventId, eventIdBytes } from './event-id.ts'
import { type AuditEvent, eventTypes, isAllowed, type PrivateValue } from './event-types.ts'
import { cutText, type WrittenList, writeList, writeText } from './written-text.ts'

/** An event as it goes to its log: the leaf, and the private part that the leaf commits to. */
export interface EncodedEvent {
  readonly id: string
  /** The text before and after the name of the log; the log inserts its own name. */
  readonly leaf: { readonly before: Buffer; readonly after: Buffer }
  readonly private?: { readonly salt: Buffer; readonly payload: Buffer }
}

/** A leaf, read back. */
export interface Leaf {
  readonly id: string
  readonly log: string
  readonly at: string
  readonly type: string
  readonly public: { readonly [key: string]: Canonical }
  readonly commitment: Buffer | undefined
}

const schema = 'bastion.audit.event/v1'
const commitmentDomain = 'bastion.audit.priv/v1\0'

/** A leaf is one record of a tlog-tiles entry bundle at most; ours are far smaller. */
const leafBytesMax = 8192
/** Of a private payload: the database refuses a larger one, and nobody reads one that is there. */
export const payloadBytesMax = 131_072
/** Of the name of a log. */
const nameBytesMax = 64
const publicLengthMax = 256

const idRandomBytes = 10
const saltBytes = 32
const namelessLog = '"log":""'

/** Encodes an event. Throws EventRefused for keys and values that its type does not allow. */
export function encodeEvent(
  event: AuditEvent,
  { now, random }: { now: Date; random: (size: number) => Buffer },
): EncodedEvent {
  if (!Object.hasOwn(eventTypes, event.type)) throw new EventRefused(event.type, 'no such type')
  const bytes = random(idRandomBytes + saltBytes)
  const id = eventId(now, bytes.subarray(0, idRandomBytes))
  const hidden = privatePart(event)
  const secret =
    hidden === undefined
      ? undefined
      : { salt: bytes.subarray(idRandomBytes), payload: encodeCanonical(hidden) }
  const leaf = encodeCanonical({
    $: schema,
    id,
    log: '',
    ts: now.toISOString(),
    typ: event.type,
    pub: publicPart(event),
    ...(secret && { pc: commit(id, secret.salt, secret.payload).toString('base64url') }),
  })
  const length = leaf.length + nameBytesMax
  if (length > leafBytesMax) throw new EventRefused(event.type, `${length} bytes`)
  if (secret !== undefined && secret.payload.length > payloadBytesMax)
    throw new EventRefused(event.type, `${secret.payload.length} private bytes`)
  // Of the keys that stand before it, in their canonical order, neither has a value with a quote in it.
  const name = leaf.indexOf(namelessLog) + namelessLog.length - 1
  return {
    id,
    leaf: { before: leaf.subarray(0, name), after: leaf.subarray(name) },
    ...(secret && { private: secret }),
  }
}

/** Reads a leaf; undefined when it is not one, byte for byte as encodeEvent writes it. */
export function decodeLeaf(bytes: Uint8Array): Leaf | undefined {
  const value = decodeCanonical(bytes)
  if (bytes.length > leafBytesMax || !isRecord(value)) return undefined
  const { $, id, log, ts, typ, pub, pc, ...others } = value
  if ($ !== schema || Object.keys(others).length > 0) return undefined
  if (typeof id !== 'string' || eventIdBytes(id) === undefined) return undefined
  if (typeof log !== 'string' || typeof typ !== 'string' || !isRecord(pub)) return undefined
  if (typeof ts !== 'string' || !isInstant(ts)) return undefined
  const commitment = pc === undefined ? undefined : decodeCommitment(pc)
  if (commitment === undefined && pc !== undefined) return undefined
  return { id, log, at: ts, type: typ, public: pub, commitment }
}

/** Reads a private payload; undefined when it is not one. */
export function decodePrivate(
  payload: Uint8Array,
): { readonly [key: string]: Canonical } | undefined {
  const value = decodeCanonical(payload)
  return isRecord(value) ? value : undefined
}

/**
 * Commits to a private payload without showing it. The salt hides even a payload that can be
 * guessed, and without the salt the payload cannot be linked to the leaf.
 */
export function commit(id: string, salt: Uint8Array, payload: Uint8Array): Buffer {
  const idBytes = eventIdBytes(id)
  if (idBytes === undefined || salt.length !== saltBytes)
    throw new TypeError('not an event id and a salt')
  // Node takes bytes for a key object first, which is an exception each time: as dear as the HMAC itself.
  return createHmac('sha256', createSecretKey(salt))
    .update(commitmentDomain)
    .update(idBytes)
    .update(payload)
    .digest()
}

function publicPart(event: AuditEvent): { [key: string]: Canonical } {
  return part(event, 'public', event.public, (text) => {
    // Ids, enumerations, hashes. A name or a message has no business here, and mostly a space.
    if (/^[\x21-\x7e]+$/.test(text) && text.length <= publicLengthMax) return text
    throw new EventRefused(event.type, 'a public value is not an id, a name of ours or a hash')
  })
}

function privatePart(event: AuditEvent): { [key: string]: Canonical } | undefined {
  const values = part(event, 'private', event.private ?? {}, cutText)
  return Object.keys(values).length === 0 ? undefined : values
}

function part(
  { type }: AuditEvent,
  name: 'public' | 'private',
  values: { readonly [key: string]: PrivateValue | undefined },
  check: (text: string) => string,
): { [key: string]: Canonical } {
  const kept: { [key: string]: Canonical } = {}
  for (const [key, value] of Object.entries(values)) {
    if (value === undefined) continue
    if (!isAllowed(type, name, key))
      throw new EventRefused(type, `${key} is not a ${name} key of this type`)
    if (typeof value === 'boolean') kept[key] = value
    else if (name === 'public' && typeof value === 'string') kept[key] = check(value)
    else if (Array.isArray(value) && value.every((item) => typeof item === 'string')) {
      Object.assign(kept, listOf(key, writeList(value, check)))
    } else if (name === 'private' && isText(value)) {
      const { text, bytes, sha256 } = writeText(value)
      kept[key] = text
      if (sha256 === undefined) continue
      kept[`${key}Bytes`] = String(bytes)
      kept[`${key}Sha256`] = sha256
    } else throw new EventRefused(type, `${name} ${key} is not a text, list or flag`)
  }
  return kept
}

function listOf(key: string, { items, count, sha256 }: WrittenList): { [key: string]: Canonical } {
  if (sha256 === undefined) return { [key]: items }
  return { [key]: items, [`${key}Count`]: String(count), [`${key}Sha256`]: sha256 }
}

function isText(value: unknown): value is Parameters<typeof writeText>[0] {
  if (typeof value === 'string' || Buffer.isBuffer(value)) return true
  return typeof value === 'object' && value !== null && 'shown' in value && 'whole' in value
}

function isRecord(value: Canonical | undefined): value is { readonly [key: string]: Canonical } {
  return typeof value === 'object' && !Array.isArray(value)
}

/** Exactly the output of Date, so that a date has one form. */
function isInstant(text: string): boolean {
  const at = new Date(text)
  return !Number.isNaN(at.getTime()) && at.toISOString() === text
}

function decodeCommitment(value: Canonical): Buffer | undefined {
  if (typeof value !== 'string' || !/^[A-Za-z0-9_-]{43}$/.test(value)) return undefined
  const bytes = Buffer.from(value, 'base64url')
  return bytes.toString('base64url') === value ? bytes : undefined
}
