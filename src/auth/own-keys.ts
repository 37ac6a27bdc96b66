import { appendEvent } from '../audit/index.ts'
import type { Database, WriteTx } from '../postgres/index.ts'
import { type Actor, actorKeys, actorNames } from './actor.ts'
import { KeysMany, OwnKeyMissing } from './errors.ts'
import type { WebIdentity } from './identity.ts'
import { keyRecord, taggedRow } from './key-record.ts'
import { endOf, type Keys, type KeyVault } from './keys.ts'
import { findOwnKey, listOwnKeys, replaceKey } from './own-key-queries.ts'
import { lockUser } from './passkey-queries.ts'
import { deleteKey, type KeyRow } from './queries.ts'
import type { KeyCertificates } from './ssh-login.ts'
import { requireConfirmed } from './step-up.ts'

/** A login key of a person. Times are RFC 3339, UTC. */
export interface OwnKey {
  readonly id: string
  readonly fingerprint: string
  readonly type: string
  readonly name: string
  readonly createdAt: string
  readonly expiresAt: string | undefined
  /** The last login, to the minute. */
  readonly usedAt: string | undefined
  /** Whether the security key must verify its user at each login. */
  readonly verifyRequired: boolean
  /** False for one that was changed outside VaultTerm: it logs nobody in. */
  readonly intact: boolean
}

/** A person's own login keys. */
export interface OwnKeys {
  /** The oldest first. Throws VaultSealed. */
  list(person: WebIdentity): Promise<readonly OwnKey[]>
  /** Takes one line of a `.pub` file. Throws KeyRefused with the reason, KeyExists, KeysMany. */
  add(
    person: WebIdentity,
    key: {
      readonly line: string
      readonly name?: string | undefined
      readonly expiresAt?: string | undefined
      readonly verifyRequired?: boolean | undefined
    },
    actor: Actor,
  ): Promise<OwnKey>
  /**
   * Changes the name or the end, which null takes away. Throws KeyRefused for an end that is past, and
   * OwnKeyMissing, for one that was changed outside VaultTerm too.
   */
  change(
    person: WebIdentity,
    id: string,
    to: { readonly name?: string | undefined; readonly expiresAt?: string | null | undefined },
    actor: Actor,
  ): Promise<OwnKey>
  /** Its certificates are revoked, and sessions that began with it or them end. Throws OwnKeyMissing. */
  remove(person: WebIdentity, id: string, actor: Actor): Promise<void>
}

const keysMax = 100

export function createOwnKeys(
  database: Database,
  vault: KeyVault,
  keys: Keys,
  certificates: KeyCertificates,
): OwnKeys {
  const list = async ({ tenant, user }: WebIdentity) => {
    const rows = await database.read(tenant, (tx) => listOwnKeys(tx, user.id))
    const intact = await vault.areIntact(tenant, rows.map(taggedRow))
    return rows.map((row, at) => fromRow(row, intact[at] === true))
  }
  return {
    list,
    async add(person, { line, name, expiresAt, verifyRequired }, actor) {
      const options = {
        ...(expiresAt !== undefined && { expiresAt }),
        ...(verifyRequired !== undefined && { verifyRequired }),
        ...(name !== undefined && { comment: name }),
      }
      const { tenant, user } = person
      const confirm = async (tx: WriteTx) => {
        await lockUser(tx, user.id)
        await requireConfirmed(tx, person, 'key.change')
        if ((await listOwnKeys(tx, user.id)).length >= keysMax) throw new KeysMany(keysMax)
      }
      const { fingerprint } = await keys.addKey(tenant, user.name, line, options, actor, confirm)
      const added = (await list(person)).find((one) => one.fingerprint === fingerprint)
      if (added === undefined) throw new OwnKeyMissing()
      return added
    },
    async change(person, id, to, actor) {
      const { tenant, user } = person
      const row = await database.read(tenant, (tx) => findOwnKey(tx, user.id, id))
      // A new tag must not make a changed row a good one.
      const [isIntact] = row === undefined ? [] : await vault.areIntact(tenant, [taggedRow(row)])
      if (row === undefined || isIntact !== true) throw new OwnKeyMissing()
      const changed = {
        ...row,
        comment: to.name ?? row.comment,
        expiresAt: nextEnd(row.expiresAt, to.expiresAt),
      }
      await vault.tagging(tenant, (makeTag) => {
        const tag = makeTag(keyRecord(changed))
        return database.write(
          tenant,
          async (tx) => {
            await requireConfirmed(tx, person, 'key.change')
            if (!(await replaceKey(tx, row, { ...changed, tag }))) throw new OwnKeyMissing()
            const { userId: of, fingerprint, expiresAt: end } = changed
            if (end !== null)
              await certificates.revokeOfKey(tx, { user: of, fingerprint, end }, actorKeys(actor))
            await logChange(tx, 'key.update', changed, actor)
          },
          { retry: true },
        )
      })
      return fromRow(changed, true)
    },
    remove: (person, id, actor) =>
      database.write(
        person.tenant,
        async (tx) => {
          const { user } = person
          await requireConfirmed(tx, person, 'key.change')
          const row = await findOwnKey(tx, user.id, id)
          if (row === undefined || (await deleteKey(tx, row.id)) === 0) throw new OwnKeyMissing()
          const { fingerprint } = row
          await certificates.revokeOfKey(tx, { user: user.id, fingerprint }, actorKeys(actor))
          await logChange(tx, 'key.remove', row, actor)
        },
        { retry: true },
      ),
  }
}

function nextEnd(before: Date | null, to: string | null | undefined): Date | null {
  if (to === undefined) return before
  return to === null ? null : endOf(to)
}

async function logChange(
  tx: WriteTx,
  type: 'key.update' | 'key.remove',
  row: KeyRow,
  actor: Actor,
): Promise<void> {
  const facts = { user: row.userId, key: row.id, fingerprint: row.fingerprint, type: row.type }
  const hidden = { name: row.user, comment: row.comment, ...actorNames(actor) }
  const expiresAt = row.expiresAt?.toISOString()
  await appendEvent(
    tx,
    type === 'key.update'
      ? { type, public: { ...facts, expiresAt, ...actorKeys(actor) }, private: hidden }
      : { type, public: { ...facts, ...actorKeys(actor) }, private: hidden },
  )
}

function fromRow(row: KeyRow, intact: boolean): OwnKey {
  return {
    id: row.id,
    fingerprint: row.fingerprint,
    type: row.type,
    name: row.comment,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString(),
    usedAt: row.usedAt?.toISOString(),
    verifyRequired: row.verifyRequired,
    intact,
  }
}
