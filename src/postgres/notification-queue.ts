import type { ReadTx } from './transaction.ts'

/**
 * From here on the queue counts as filling up: the acts of VaultTerm send no notification when half of it
 * is full (notify_if_room in the migrations), and it may fill up between two looks.
 */
export const notificationUsageMax = 0.25

/** How full the queue of notifications is, from 0 to 1. All databases of a server share it. */
export async function notificationUsage(tx: ReadTx): Promise<number> {
  const { usage } = await tx.one<{ usage: number }>('select pg_notification_queue_usage() as usage')
  return usage
}
