import { appendEvent } from '../audit/index.ts'
import { type Database, type TenantId, violation } from '../postgres/index.ts'
import { parsePublicKey } from '../ssh/index.ts'
import { type Actor, actorKeys } from './actor.ts'
import { KeyExists, KeyMissing, KeyRefused, UserMissing } from './errors.ts'
import { deleteKey, findKey, insertKey, type KeyRow, listKeys } from './queries.ts'
import { requireUser } from './users.ts'

/** A public key that somebody may log in with. */
export interface UserKey {
  readonly fingerprint: string
  readonly type: string
  /** Whose it is, by name. */
  readonly user: string
  readonly comment: string
  /** RFC 3339, UTC. */
  readonly createdAt: string
  readonly expiresAt: string | undefined
}

export interface Keys {
  /** Takes one line of a `.pub` file. Throws KeyRefused with the reason, KeyExists, UserMissing. */
  addKey(
    tenant: TenantId,
    user: string,
    line: string,
    options: { readonly expiresAt?: string; readonly verifyRequired?: boolean },
    actor: Actor,
  ): Promise<UserKey>
  listKeys(tenant: TenantId, user?: string): Promise<readonly UserKey[]>
  /** Throws KeyMissing. */
  removeKey(tenant: TenantId, fingerprint: string, actor: Actor): Promise<UserKey>
}

export function createKeys(database: Database): Keys {
  return {
    async addKey(tenant, userName, line, { expiresAt, verifyRequired = false }, actor) {
      const parsed = parsePublicKey(line)
      if ('problem' in parsed) throw new KeyRefused(parsed.problem)
      const { type, blob, fingerprint, comment } = parsed.key
      if (verifyRequired && !type.startsWith('sk-')) {
        throw new KeyRefused('only a security key (sk-…) can say that it knew its holder')
      }
      const expires = expiresAt === undefined ? undefined : new Date(expiresAt)
      if (expires !== undefined && Number.isNaN(expires.getTime())) {
        throw new KeyRefused('a key expires at a time, such as 2027-01-31T12:00:00Z')
      }
      if (expires !== undefined && expires.getTime() <= Date.now()) {
        throw new KeyRefused('this key would have expired already')
      }
      try {
        return await database.write(tenant, async (tx) => {
          const user = await requireUser(tx, userName)
          await insertKey(tx, {
            userId: user.id,
            type,
            blob,
            fingerprint,
            comment,
            expiresAt: expires,
            verifyRequired,
          })
          const row = await findKey(tx, fingerprint)
          if (row === undefined) throw new KeyMissing(fingerprint)
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
            private: { name: userName, comment, actorName: actor.name },
          })
          return fromRow(row)
        })
      } catch (err) {
        const { kind } = violation(err) ?? {}
        if (kind === 'unique') throw new KeyExists(fingerprint)
        // Removed between the look and the insert.
        if (kind === 'foreign-key') throw new UserMissing(userName)
        throw err
      }
    },
    async listKeys(tenant, user) {
      return database.read(tenant, async (tx) => {
        if (user !== undefined) await requireUser(tx, user)
        return (await listKeys(tx, user)).map(fromRow)
      })
    },
    removeKey: (tenant, fingerprint, actor) =>
      database.write(tenant, async (tx) => {
        const row = await findKey(tx, fingerprint)
        if (row === undefined) throw new KeyMissing(fingerprint)
        if ((await deleteKey(tx, row.id)) === 0) throw new KeyMissing(fingerprint)
        await appendEvent(tx, {
          type: 'key.remove',
          public: {
            user: row.userId,
            key: row.id,
            fingerprint,
            type: row.type,
            ...actorKeys(actor),
          },
          private: { name: row.user, comment: row.comment, actorName: actor.name },
        })
        return fromRow(row)
      }),
  }
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
