import { isIP } from 'node:net'
import { parsePublicKeyBlob } from '../ssh/index.ts'
import { TargetInvalid } from './errors.ts'
import type { TargetId } from './ids.ts'

/** A key that proves a target's identity. */
export interface HostKey {
  readonly type: string
  readonly blob: Buffer
}

/** A host with the facts to open it. */
export interface Target {
  readonly id: TargetId
  readonly name: string
  readonly host: string
  readonly port: number
  /** The accounts that may be used on it; the first is the default. */
  readonly logins: readonly string[]
  /** With the tenant's admin key, or with a certificate of a minute or two. */
  readonly auth: 'key' | 'cert'
  readonly hostKeys: readonly HostKey[]
  /** Whether a certificate of the tenant's host authority vouches for another host key. */
  readonly hostCertified: boolean
  /**
   * Grows with each change after which it may be another machine: a change of its address, or of a
   * host key.
   */
  readonly generation: number
}

const namePattern = /^[a-z0-9][a-z0-9-]{0,31}$/
const loginPattern = /^[A-Za-z_][A-Za-z0-9_.-]{0,31}$/
const hostNamePattern =
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?$/
const loginsMax = 32
const hostKeysMax = 16

/** Whether a text can be the name of an account on a target. */
export function isLogin(text: string): boolean {
  return loginPattern.test(text)
}

/** Throws TargetInvalid, as all of these do. */
export function checkName(name: string): string {
  if (namePattern.test(name)) return name
  throw new TargetInvalid(
    `${shown(name)} cannot be a target's name: use 1 to 32 of a-z, 0-9 and -, with no - at the start`,
  )
}

export function checkHost(host: string): string {
  if (isIP(host) !== 0 || hostNamePattern.test(host)) return host
  throw new TargetInvalid(`${shown(host)} is neither a host name nor an IP address`)
}

export function checkPort(port: number): number {
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port
  throw new TargetInvalid('a port is a number from 1 to 65535')
}

/** Each login once, in the given order: the first is the default. */
export function checkLogins(logins: readonly string[]): readonly string[] {
  const accounts = [...new Set(logins)]
  const wrong = accounts.find((login) => !isLogin(login))
  if (wrong !== undefined) throw new TargetInvalid(`${shown(wrong)} cannot be a login`)
  if (accounts.length === 0 || accounts.length > loginsMax) {
    throw new TargetInvalid(`a target has 1 to ${loginsMax} logins; the first is the default`)
  }
  return accounts
}

/** Each key once, with the type that the key itself says. */
export function checkHostKeys(keys: readonly HostKey[]): readonly HostKey[] {
  const unique = new Map<string, HostKey>()
  for (const { blob } of keys) {
    const parsed = parsePublicKeyBlob(Buffer.from(blob))
    if ('problem' in parsed) throw new TargetInvalid(`a host key cannot be used: ${parsed.problem}`)
    unique.set(parsed.key.fingerprint, { type: parsed.key.type, blob: parsed.key.blob })
  }
  if (unique.size === 0 || unique.size > hostKeysMax) {
    throw new TargetInvalid(
      `a target has 1 to ${hostKeysMax} host keys, give them with --host-key, or scan them with --scan`,
    )
  }
  return [...unique.values()]
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 64))
}
