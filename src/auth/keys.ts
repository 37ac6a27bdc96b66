import { appendEvent } from '../audit/index.ts'
import { type Database, type TenantId, violation, type WriteTx } from '../postgres/index.ts'
import { parsePublicKey } from '../ssh/index.ts'
import { RecordChanged, type TagRecord, type Vault } from '../vault/index.ts'
import { type Actor, actorKeys, actorNames } from './actor.ts'
import { KeyExists, KeyRefused, UserKeyMissing, UserMissing } from './errors.ts'
import { keyRecord, taggedRow } from './key-record.ts'
import {
  deleteKey,
  findKey,
  insertKey,
  type KeyRow,
  listKeys,
  listUntaggedKeys,
  markArrived,
  setKeyTags,
} from './queries.ts'
import type { KeyCertificates } from './ssh-login.ts'
import { requireUser } from './users.ts'

/** A public key with which a user may log in. */
export interface UserKey {
  readonly fingerprint: string
  readonly type: string
  /** The name of its user. */
  readonly user: string
  readonly comment: string
  /** RFC 3339, UTC. */
  readonly createdAt: string
  readonly expiresAt: string | undefined
}

/** The part of the vault that keys need: it tags them, and finds those that others wrote. */
export type KeyVault = Pick<Vault, 'tagging' | 'areIntact'>

export interface Keys {
  /** Takes one line of a `.pub` file. Throws KeyRefused with the reason, KeyExists, UserMissing. */
  addKey(
    tenant: TenantId,
    user: string,
    line: string,
    options: {
      readonly expiresAt?: string
      readonly verifyRequired?: boolean
      /** In place of the line's own comment. */
      readonly comment?: string
    },
    actor: Actor,
    /** Asks in the transaction whether the key may be added still. */
    confirm?: (tx: WriteTx) => Promise<void>,
  ): Promise<UserKey>
  /** Throws UserMissing, RecordChanged. */
  listKeys(tenant: TenantId, user?: string): Promise<readonly UserKey[]>
  /** Throws UserKeyMissing. */
  removeKey(tenant: TenantId, fingerprint: string, actor: Actor): Promise<UserKey>
}

export function createKeys(
  database: Database,
  vault: KeyVault,
  certificates: KeyCertificates,
): Keys {
  /** Throws RecordChanged for the first key that was written outside VaultTerm. */
  async function requireIntact(tenant: TenantId, rows: readonly KeyRow[]): Promise<void> {
    const intact = await vault.areIntact(tenant, rows.map(taggedRow))
    const changed = rows.find((_, i) => intact[i] !== true)
    if (changed === undefined) return
    throw new RecordChanged(
      `the key ${printable(changed.fingerprint)} of the user ${printable(changed.user)}`,
      'remove the key with `vaultterm key remove`, and add the right one again',
    )
  }

  return {
    async addKey(tenant, userName, line, options, actor, confirm = async () => {}) {
      const { expiresAt, verifyRequired = false, ...given } = options
      const parsed = parsePublicKey(line)
      if ('problem' in parsed) throw new KeyRefused(parsed.problem)
      const { type, blob, fingerprint } = parsed.key
      const comment = given.comment ?? parsed.key.comment
      if (verifyRequired && !type.startsWith('sk-')) {
        throw new KeyRefused(
          'only a security key (sk-…) can verify its user: leave --verify-required out for this key',
        )
      }
      const expires = expiresAt === undefined ? undefined : endOf(expiresAt)
      try {
        const write = async (tx: WriteTx, tag: TagRecord) => {
          await confirm(tx)
          const user = await requireUser(tx, userName)
          if (await certificates.isRevokedKey(tx, fingerprint)) {
            throw new KeyRefused('this key was revoked: make another one')
          }
          const key = { userId: user.id, blob, fingerprint, expiresAt: expires, verifyRequired }
          await markArrived(tx, user.id)
          await insertKey(tx, { ...key, type, comment, tag: tag(keyRecord(key)) })
          const row = await findKey(tx, fingerprint)
          if (row === undefined) throw new UserKeyMissing(fingerprint)
          // It may have been certified before.
          const end = verifyRequired ? undefined : expires
          if (verifyRequired || end !== undefined) {
            const by = actorKeys(actor)
            await certificates.revokeOfKey(tx, { user: user.id, fingerprint, end }, by)
          }
          await appendEvent(tx, {
            type: 'key.add',
            public: {
              user: user.id,
              key: row.id,
              fingerprint,
              type,
              expiresAt: expires?.toISOString(),
              ...actorKeys(actor),
            },
            private: { name: userName, comment, ...actorNames(actor) },
          })
          return fromRow(row)
        }
        return await vault.tagging(tenant, (tag) =>
          database.write(tenant, (tx) => write(tx, tag), { retry: true }),
        )
      } catch (err) {
        const { kind } = violation(err) ?? {}
        if (kind === 'unique') throw new KeyExists(fingerprint)
        // The user was removed between the look-up and the insert.
        if (kind === 'foreign-key') throw new UserMissing(userName)
        throw err
      }
    },
    async listKeys(tenant, user) {
      const rows = await database.read(tenant, async (tx) => {
        if (user !== undefined) await requireUser(tx, user)
        return listKeys(tx, user)
      })
      await requireIntact(tenant, rows)
      return rows.map(fromRow)
    },
    removeKey: (tenant, fingerprint, actor) =>
      database.write(tenant, async (tx) => {
        const row = await findKey(tx, fingerprint)
        if (row === undefined) throw new UserKeyMissing(fingerprint)
        if ((await deleteKey(tx, row.id)) === 0) throw new UserKeyMissing(fingerprint)
        await certificates.revokeOfKey(tx, { user: row.userId, fingerprint }, actorKeys(actor))
        await appendEvent(tx, {
          type: 'key.remove',
          public: {
            user: row.userId,
            key: row.id,
            fingerprint,
            type: row.type,
            ...actorKeys(actor),
          },
          private: { name: row.user, comment: row.comment, ...actorNames(actor) },
        })
        return fromRow(row)
      }),
  }
}

/** The end of a key. Throws KeyRefused for one that is no time, or past. */
export function endOf(text: string): Date {
  const end = new Date(text)
  // The database takes years of four digits.
  if (Number.isNaN(end.getTime()) || end.toISOString().length > 24) {
    throw new KeyRefused('the end of a key must be a time: write it as 2027-01-31T12:00:00Z')
  }
  if (end.getTime() <= Date.now()) {
    throw new KeyRefused('this key has expired already: give a time in the future')
  }
  return end
}

/** Tags the tenant's keys from before tags. Answers how many. */
export async function tagOldKeys(tx: WriteTx, tag: TagRecord): Promise<number> {
  const rows = await listUntaggedKeys(tx)
  await setKeyTags(
    tx,
    rows.map(({ id }) => id),
    rows.map((row) => tag(keyRecord(row))),
  )
  return rows.length
}

/** For messages: a changed row may hold anything. */
function printable(text: string): string {
  return JSON.stringify(text.slice(0, 80))
}

function fromRow({ fingerprint, type, user, comment, createdAt, expiresAt }: KeyRow): UserKey {
  return {
    fingerprint,
    type,
    user,
    comment,
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt?.toISOString(),
  }
}
