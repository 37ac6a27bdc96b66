import { CodedError } from '../errors.ts'
import type { WriteTx } from './transaction.ts'

/** What a sender repeats when no answer came: a key of theirs, and 32 bytes that tell one request from another. */
export interface OnceRequest {
  readonly key: string
  readonly digest: Buffer
}

/** The sender used this key for another request. */
export class OnceKeyUsed extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_IDEMPOTENCY_KEY_USED'

  constructor() {
    super('this Idempotency-Key was used for another request: take a new one for each act')
  }
}

/** It was done. Its answer had a secret, which is shown once and kept nowhere. */
export class OnceDone extends CodedError {
  readonly kind = 'conflict'
  readonly code = 'ERR_DONE_ALREADY'

  constructor() {
    super('this request was done already, and its answer had a secret that is not shown again')
  }
}

/** Forgotten after this time. */
const keptHours = 24

/**
 * Does work once for each key of a user, in the transaction of the work: a second request waits for the
 * first, and gets its answer, as JSON carries it. When the first fails, the second does the work. Throws
 * OnceKeyUsed.
 */
export async function actOnce<T>(
  tx: WriteTx,
  user: string,
  once: OnceRequest,
  work: () => Promise<T>,
): Promise<T> {
  const before = await begin(tx, user, once)
  if (before !== undefined) {
    if (before.answer === null) throw new OnceDone()
    return JSON.parse(before.answer)
  }
  const answer = await work()
  await tx.run('update request_once set answer = $3 where user_id = $1 and key = $2', [
    user,
    once.key,
    JSON.stringify(answer),
  ])
  return answer
}

/** The same for an answer with a secret, which is not kept: a second request throws OnceDone. */
export async function actOnceInSecret<T>(
  tx: WriteTx,
  user: string,
  once: OnceRequest,
  work: () => Promise<T>,
): Promise<T> {
  if ((await begin(tx, user, once)) !== undefined) throw new OnceDone()
  return work()
}

/** The earlier request with the key; undefined for the first one, which is now on record. */
async function begin(
  tx: WriteTx,
  user: string,
  { key, digest }: OnceRequest,
): Promise<{ readonly answer: string | null } | undefined> {
  await tx.run(
    `delete from request_once where user_id = $1 and created_at < now() - make_interval(hours => $2)`,
    [user, keptHours],
  )
  const isFirst = await tx.run(
    'insert into request_once (user_id, key, digest) values ($1, $2, $3) on conflict do nothing',
    [user, key, digest],
  )
  if (isFirst === 1) return undefined
  const row = await tx.one<{ digest: Buffer; answer: string | null }>(
    'select digest, answer from request_once where user_id = $1 and key = $2',
    [user, key],
  )
  if (!row.digest.equals(digest)) throw new OnceKeyUsed()
  return row
}
