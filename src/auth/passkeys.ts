import { createHash, randomUUID } from 'node:crypto'
import { appendEvent } from '../audit/index.ts'
import { type Database, violation, type WriteTx } from '../postgres/index.ts'
import { type Actor, actorKeys, actorNames } from './actor.ts'
import { Challenges } from './challenges.ts'
import {
  LastWayIn,
  PasskeyExists,
  PasskeyMissing,
  PasskeyRefused,
  PasskeysMany,
  UserMissing,
} from './errors.ts'
import type { Person, WebIdentity } from './identity.ts'
import type { KeyVault } from './keys.ts'
import {
  deletePasskey,
  insertPasskey,
  listPasskeys,
  lockUser,
  type PasskeyRow,
} from './passkey-queries.ts'
import { passkeyRecord } from './passkey-record.ts'
import { requireConfirmed } from './step-up.ts'
import { encodeUserHandle } from './user-handle.ts'
import { deleteProofsBy } from './web-session-queries.ts'
import { endOtherSessions } from './web-sessions.ts'
import {
  type Attestation,
  type CreationOptions,
  type CredentialHint,
  creationOptions,
  type RelyingParty,
  verifyAttestation,
} from './webauthn.ts'

/** A passkey of a person. Times are RFC 3339, UTC. */
export interface Passkey {
  readonly id: string
  readonly name: string
  readonly createdAt: string
  readonly usedAt: string | undefined
  /** Whether its maker may copy it to the person's other devices. */
  readonly synced: boolean
  readonly transports: readonly string[]
}

/** A person's own passkeys. */
export interface OwnPasskeys {
  /** The oldest first. */
  list(person: WebIdentity): Promise<readonly Passkey[]>
  /** What the browser is asked for a new passkey. Throws PasskeysMany. */
  begin(person: WebIdentity, rp: RelyingParty): Promise<CreationOptions>
  /**
   * Keeps the passkey of the browser's answer, and ends the person's other web sessions. Throws
   * PasskeyRefused, PasskeyExists, PasskeysMany, VaultSealed.
   */
  add(
    person: WebIdentity,
    rp: RelyingParty,
    made: { readonly name: string; readonly answer: Attestation },
    actor: Actor,
  ): Promise<Passkey>
  /** Ends the person's other web sessions too. Throws PasskeyMissing, LastWayIn unless that is wanted. */
  remove(
    person: WebIdentity,
    id: string,
    options: { readonly lastWayIn: boolean },
    actor: Actor,
  ): Promise<void>
}

const passkeysMax = 20
const registering = 'register'

export function createOwnPasskeys(database: Database, vault: KeyVault): OwnPasskeys {
  const challenges = new Challenges(database)
  const listOf = ({ tenant, user }: WebIdentity) =>
    database.read(tenant, (tx) => listPasskeys(tx, user.id))
  return {
    list: async (person) => (await listOf(person)).map(fromRow),
    async begin(person, rp) {
      const known = await listOf(person)
      if (known.length >= passkeysMax) throw new PasskeysMany(passkeysMax)
      const challenge = await challenges.make({ ...person, purpose: registering })
      const { tenant, tenantSlug, user } = person
      const name = `${user.name}@${tenantSlug}`
      const handle = encodeUserHandle(tenant, user.id)
      return creationOptions(rp, { handle, name, shownName: name }, challenge, known.map(hintOf))
    },
    async add(person, rp, { name, answer }, actor) {
      const { tenant, user, session } = person
      const challenge = await challenges.take(answer, { ...person, purpose: registering })
      const made = await verifyAttestation(rp, challenge, answer).catch(refuse)
      if (made === undefined) throw new PasskeyRefused()
      const key = { userId: user.id, credentialId: made.id, publicKey: made.publicKey }
      const add = (tag: Buffer) => async (tx: WriteTx) => {
        await lockUser(tx, user.id)
        await requireConfirmed(tx, person, 'factor.change')
        if ((await listPasskeys(tx, user.id)).length >= passkeysMax)
          throw new PasskeysMany(passkeysMax)
        const id = randomUUID()
        const { counter, synced } = made
        const transports = [...answer.transports]
        await insertPasskey(tx, { ...key, id, counter, synced, transports, name, tag })
        const row = (await listPasskeys(tx, user.id)).find((one) => one.id === id)
        if (row === undefined) throw new PasskeyMissing()
        await endOtherSessions(tx, user, session, actor)
        await logChange(tx, 'factor.add', { user, row }, actor)
        return fromRow(row)
      }
      try {
        return await vault.tagging(tenant, (tag) =>
          database.write(tenant, add(tag(passkeyRecord(key))), { retry: true }),
        )
      } catch (err) {
        const { kind } = violation(err) ?? {}
        if (kind === 'unique') throw new PasskeyExists()
        // Removed meanwhile.
        if (kind === 'foreign-key') throw new UserMissing(user.name)
        throw err
      }
    },
    remove: (person, id, { lastWayIn }, actor) =>
      database.write(
        person.tenant,
        async (tx) => {
          const { user, session } = person
          await lockUser(tx, user.id)
          await requireConfirmed(tx, person, 'factor.change')
          const rows = await listPasskeys(tx, user.id)
          const row = rows.find((one) => one.id === id)
          if (row === undefined) throw new PasskeyMissing()
          if (rows.length === 1 && !lastWayIn) throw new LastWayIn()
          await deletePasskey(tx, id)
          await deleteProofsBy(tx, id)
          await endOtherSessions(tx, user, session, actor)
          await logChange(tx, 'factor.remove', { user, row }, actor)
        },
        { retry: true },
      ),
  }
}

/** Removes all passkeys of a person who lost them, and ends all web sessions. Answers how many passkeys. */
export async function forgetPasskeys(tx: WriteTx, user: Person, actor: Actor): Promise<number> {
  await lockUser(tx, user.id)
  const rows = await listPasskeys(tx, user.id)
  for (const row of rows) await deletePasskey(tx, row.id)
  // Before anything is logged: an act of one of these sessions may hold it, and wait for the log.
  await endOtherSessions(tx, user, undefined, actor)
  for (const row of rows) await logChange(tx, 'factor.remove', { user, row }, actor)
  return rows.length
}

/** The library says by its error what is wrong. Nobody else is told. */
function refuse(err: unknown): never {
  throw new PasskeyRefused(err)
}

export function hintOf({ credentialId, transports }: PasskeyRow): CredentialHint {
  const id = credentialId.toString('base64url')
  return { id, type: 'public-key', transports: [...transports] }
}

async function logChange(
  tx: WriteTx,
  type: 'factor.add' | 'factor.remove',
  { user, row }: { readonly user: Person; readonly row: PasskeyRow },
  actor: Actor,
): Promise<void> {
  const fingerprint = createHash('sha256').update(row.publicKey).digest('base64')
  await appendEvent(tx, {
    type,
    public: {
      user: user.id,
      factor: row.id,
      factorKind: 'passkey',
      fingerprint: `SHA256:${fingerprint.replace(/=+$/, '')}`,
      ...actorKeys(actor),
    },
    private: { name: user.name, factorName: row.name, ...actorNames(actor) },
  })
}

function fromRow({ id, name, createdAt, usedAt, synced, transports }: PasskeyRow): Passkey {
  return {
    id,
    name,
    createdAt: createdAt.toISOString(),
    usedAt: usedAt?.toISOString(),
    synced,
    transports,
  }
}
